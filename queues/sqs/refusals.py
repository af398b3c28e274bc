"""What SQS's error codes mean, under one spelling of each.

A code has several spellings: AWS's JSON protocol says `QueueDoesNotExist`; its older query protocol, which boto3 shows,
`AWS.SimpleQueueService.NonExistentQueue`; LocalStack appends `Exception` where AWS does not. The gateway makes every
incoming code canonical, so that the rest of the system compares plain names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from queuesite.foundation.errors import (
    Conflict,
    QueueMissing,
    ServerError,
    SqsDenied,
    SqsRejected,
    SqsUnavailable,
    TooManyInFlight,
)
from queuesite.foundation.home import PROGRAM

#: Names of the query protocol (and of KMS's own errors) that differ from those of the JSON protocol by more than a
#: prefix or suffix.
_ALIASES = {
    "NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
    "KmsThrottling": "KmsThrottled",
    "KmsKMSInvalidState": "KmsInvalidState",
}

_RECEIPT_HANDLE = frozenset({"ReceiptHandleIsInvalid", "InvalidIdFormat", "MessageNotInflight"})
#: SQS asks for patience: the request was not carried out, and its sender tries again by itself (the list of botocore's
#: standard mode, as far as it is SQS's).
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttled",
        "Throttling",
        "TooManyRequests",
    }
)
_TRANSIENT = THROTTLED | {
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "KmsThrottled",
    "OverLimit",
    "RequestTimeout",
    "ServiceUnavailable",
}
#: Beginnings of codes that blame the request or the account, whoever `SenderFault` blames: LocalStack sets that to
#: false for most of them.
_PERMANENT = ("AccessDenied", "Batch", "Invalid", "Kms", "MessageTooLong", "Missing", "Unsupported")
_CLOCK = frozenset({"RequestInTheFuture", "RequestTimeTooSkewed"})
_EXPIRED = frozenset({"ExpiredToken", "RequestExpired"})
_BAD_KEYS = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
    }
)
_DENIED = _BAD_KEYS | {
    "AccessDenied",
    "AuthFailure",
    "IncompleteSignature",
    "InvalidSecurity",
    "InvalidSignature",
    "NotAuthorized",
    "OptInRequired",
}
#: What to do about each error of KMS that lasts until somebody does it.
_KMS = {
    "KmsAccessDenied": "allow kms:GenerateDataKey and kms:Decrypt on the queue's key",
    "KmsDisabled": "enable the queue's key in KMS, or give the queue another",
    "KmsInvalidKeyUsage": "give the queue a symmetric key for encryption and decryption",
    "KmsInvalidState": "cancel the deletion of the queue's key in KMS, or give the queue another",
    "KmsNotFound": "give the queue a key that exists in its region",
    "KmsOptInRequired": "subscribe the AWS account to KMS",
}


def canonical(code: str) -> str:
    """A code without namespace, prefix and suffix: `ReceiptHandleIsInvalid`, `QueueDoesNotExist`, `KmsAccessDenied`."""
    plain = code.rpartition("#")[2].partition(":")[0].removeprefix("AWS.SimpleQueueService.")
    plain = plain.removesuffix("Exception") or plain
    if plain.startswith("KMS."):  # KMS.DisabledException of the query protocol
        plain = "Kms" + plain.removeprefix("KMS.")
    return _ALIASES.get(plain, plain)


@dataclass(frozen=True)
class BatchFailure:
    """An entry of a batch that SQS refused: its place in the batch, SQS's code and text, and whether it blames us.

    The code is canonical, whatever its spelling was.
    """

    index: int
    code: str
    message: str
    sender_fault: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", canonical(self.code))

    @property
    def gone(self) -> bool:
        """Whether the receipt handle is of no use any more: its message was deleted, or became visible again.

        AWS answers `ReceiptHandleIsInvalid` or, if the handle was good once, `InvalidParameterValue` ("Value … for
        parameter ReceiptHandle is invalid. Reason: The receipt handle has expired", or "… Message does not exist or is
        not available for visibility timeout change").
        """
        if self.code in _RECEIPT_HANDLE:
            return True
        return self.code == "InvalidParameterValue" and not self._blames_timeout

    @property
    def beyond_limit(self) -> bool:
        """Whether the visibility timeout asked for would end more than 12 hours after the message's receive.

        The receipt handle stays good. AWS: `InvalidParameterValue`, "Value 43200 for parameter VisibilityTimeout is
        invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]".
        """
        return self.code == "InvalidParameterValue" and self._blames_timeout

    @property
    def transient(self) -> bool:
        """Whether the same entry may succeed a moment later: SQS throttles, or has an internal error."""
        return self.code in _TRANSIENT or not (self.sender_fault or self.code.startswith(_PERMANENT) or self.gone)

    @property
    def text(self) -> str:
        """Code and text, and the remedy if one is known."""
        remedy = f"; {_KMS[self.code]}" if self.code in _KMS else ""
        return f"{self.code}: {self.message}{remedy}"

    @property
    def error(self) -> ServerError | Conflict:
        """The failure as an error, with its remedy."""
        return error_for(self.code, self.message, status=503 if self.transient else 400)

    @property
    def _blames_timeout(self) -> bool:
        # The other texts say "visibility timeout" in two words.
        return "VisibilityTimeout" in self.message and "parameter ReceiptHandle" not in self.message


def failures_of(answer: Any) -> tuple[BatchFailure, ...]:
    """The failed entries of SQS's answer to a batch."""
    return tuple(
        BatchFailure(
            int(item["Id"]), item.get("Code", ""), item.get("Message", ""), bool(item.get("SenderFault", False))
        )
        for item in answer.get("Failed") or ()
    )


def bad_credentials(code: str) -> bool:
    """Whether `code` (canonical) refuses the credentials themselves, not what they may do."""
    return code in _EXPIRED or code in _BAD_KEYS


def about_credentials(code: str) -> bool:
    """Whether `code` (canonical) refuses who asks, or the time of the signature, and not what is asked for."""
    return code in _DENIED or code in _EXPIRED or code in _CLOCK


def no_answer(address: str, why: str = "") -> SqsUnavailable:
    """The error of a request that was not answered. `address` is SQS's address, as it may be shown."""
    reason = f" ({why})" if why else ""
    return SqsUnavailable(f"SQS at {address} does not answer{reason}; is it running, and is AWS_SQS_ENDPOINT right?")


def error_for(
    code: str, text: str, *, status: int = 400, queue_url: str | None = None, address: str = ""
) -> ServerError | Conflict:
    """The error that explains `code` (canonical), with its remedy. `status` is the HTTP status."""
    sqs = f"SQS at {address}" if address else "SQS"
    said = f"{code or status}: {text}"
    if code == "QueueDoesNotExist":
        return QueueMissing(
            f"SQS has no {queue_url or 'such queue'}; `{PROGRAM} sqs sync` creates what is missing, unless others "
            "own it"
        )
    if code in _EXPIRED:
        return SqsDenied(
            f"the AWS credentials have expired ({said}); renew them: set new keys and a new "
            "AWS_SESSION_TOKEN, or log in again (aws sso login)"
        )
    if code in _CLOCK:
        return SqsDenied(f"this machine's clock is wrong, by what SQS says ({said}); set it, or have NTP do it")
    if code in _DENIED:
        return SqsDenied(
            f"SQS refused the credentials or permissions ({said}); check the AWS keys and policy "
            "(temporary keys, which begin with ASIA, need AWS_SESSION_TOKEN too)"
        )
    if code in _KMS:
        return SqsDenied(f"the queue's messages are encrypted and KMS refused ({said}); {_KMS[code]}")
    if code == "PurgeQueueInProgress":
        return Conflict("the queue was purged less than 60 s ago, and SQS allows one purge a minute; try again later")
    if code == "QueueDeletedRecently":
        return Conflict("a queue of this name was deleted less than 60 s ago, and SQS makes you wait; try again later")
    if code == "OverLimit":
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
        return TooManyInFlight(
            f"too many messages are in flight ({said}): SQS allows 120,000 a queue, and 20,000 if it is FIFO; "
            "try again once some are deleted or visible again"
        )
    if code in _TRANSIENT or status >= 500 or status == 429:
        return SqsUnavailable(f"{sqs} is overloaded ({said}); try again")
    return SqsRejected(f"SQS refused the request ({said})")
