"""Every spelling of SQS's error codes: AWS's JSON and query protocols, LocalStack 4.13, ministack."""

from __future__ import annotations

import pytest

from queues.sqs.refusals import BatchFailure, canonical, error_for, failures_of
from queuesite.errors import (
    Conflict,
    QueueMissing,
    ServerError,
    SqsDenied,
    SqsRejected,
    SqsUnavailable,
    TooManyInFlight,
)

HANDLE = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a"
EXPIRED = f"Value {HANDLE} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
NOT_AVAILABLE = (
    f"Value {HANDLE} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for "
    "visibility timeout change."
)
BEYOND = (
    "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond "
    "the limit [43200 seconds]"
)


@pytest.mark.parametrize(
    ("spellings", "plain"),
    [
        (
            [
                "QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                "com.amazonaws.sqs#QueueDoesNotExist",
                "QueueDoesNotExistException",
                "QueueDoesNotExist:http://internal.amazon.com/coral/com.amazonaws.sqs/",
            ],
            "QueueDoesNotExist",
        ),
        (["QueueAlreadyExists", "QueueNameExists"], "QueueNameExists"),
        (["InvalidParameterValue", "InvalidParameterValueException"], "InvalidParameterValue"),
        (["MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"], "MessageNotInflight"),
        (["ReceiptHandleIsInvalid", "ReceiptHandleIsInvalidException"], "ReceiptHandleIsInvalid"),
        (["PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress"], "PurgeQueueInProgress"),
        (["AccessDenied", "AccessDeniedException"], "AccessDenied"),
        (["KmsAccessDenied", "KMS.AccessDeniedException", "KmsAccessDeniedException"], "KmsAccessDenied"),
        (["KmsDisabled", "KMS.DisabledException"], "KmsDisabled"),
        (["KmsInvalidState", "KMS.KMSInvalidStateException", "KMS.InvalidStateException"], "KmsInvalidState"),
        (["KmsThrottled", "KMS.ThrottlingException"], "KmsThrottled"),
        (["Exception"], "Exception"),
        ([""], ""),
    ],
)
def test_every_spelling_of_a_code_is_one(spellings: list[str], plain: str) -> None:
    assert {canonical(spelling) for spelling in spellings} == {plain}


def failed(code: str, message: str = "", *, sender_fault: bool = True) -> BatchFailure:
    [failure] = failures_of({"Failed": [{"Id": "3", "Code": code, "Message": message, "SenderFault": sender_fault}]})
    assert failure.index == 3
    return failure


@pytest.mark.parametrize("sender_fault", [True, False])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ReceiptHandleIsInvalid", "The receipt handle has expired"),  # AWS, FIFO
        ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),  # ministack
        ("ReceiptHandleIsInvalid", f'The input receipt handle "{HANDLE}" is not a valid receipt handle.'),
        ("InvalidParameterValue", EXPIRED),
        ("InvalidParameterValue", NOT_AVAILABLE),
        ("InvalidParameterValueException", EXPIRED),  # LocalStack
        ("InvalidParameterValueException", NOT_AVAILABLE),
        ("InvalidParameterValue", ""),
        ("MessageNotInflight", "The specified message isn't in flight."),
        ("AWS.SimpleQueueService.MessageNotInflight", ""),
        ("InvalidIdFormat", ""),
    ],
)
def test_handle_that_is_of_no_use_any_more(code: str, message: str, sender_fault: bool) -> None:
    failure = failed(code, message, sender_fault=sender_fault)

    assert failure.gone
    assert not failure.beyond_limit
    assert not failure.transient


@pytest.mark.parametrize("sender_fault", [True, False])
@pytest.mark.parametrize("code", ["InvalidParameterValue", "InvalidParameterValueException"])
def test_limit_of_12_hours_is_no_expired_handle(code: str, sender_fault: bool) -> None:
    failure = failed(code, BEYOND, sender_fault=sender_fault)

    assert failure.beyond_limit
    assert not failure.gone
    assert not failure.transient


@pytest.mark.parametrize(
    ("code", "sender_fault"),
    [
        ("RequestThrottled", True),
        ("ThrottlingException", True),
        ("Throttling", False),
        ("TooManyRequestsException", True),
        ("KmsThrottled", True),
        ("KMS.ThrottlingException", True),
        ("OverLimit", True),
        ("InternalError", False),
        ("InternalFailure", False),
        ("ServiceUnavailable", False),
        ("RuntimeError", False),  # LocalStack answers the names of Python's exceptions
        ("", False),
    ],
)
def test_entry_that_is_worth_another_try(code: str, sender_fault: bool) -> None:
    failure = failed(code, sender_fault=sender_fault)

    assert failure.transient
    assert not failure.gone
    assert isinstance(failure.error, SqsUnavailable)


@pytest.mark.parametrize(
    ("code", "sender_fault", "kind"),
    [
        ("InvalidMessageContents", True, SqsRejected),
        ("InvalidMessageContents", False, SqsRejected),  # LocalStack
        ("MissingRequiredParameterException", False, SqsRejected),
        ("BatchRequestTooLong", False, SqsRejected),
        ("KmsDisabled", False, SqsDenied),
        ("KMS.AccessDeniedException", True, SqsDenied),
        ("AccessDenied", False, SqsDenied),
        ("Something", True, SqsRejected),
    ],
)
def test_entry_that_will_fail_again(code: str, sender_fault: bool, kind: type[ServerError]) -> None:
    failure = failed(code, "what SQS said", sender_fault=sender_fault)

    assert [failure.transient, failure.gone, failure.beyond_limit] == [False] * 3
    assert type(failure.error) is kind


def test_batch_without_failures() -> None:
    assert failures_of({}) == ()
    assert failures_of({"Failed": None}) == ()


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("KmsAccessDenied", 400, SqsDenied, "allow kms:GenerateDataKey and kms:Decrypt"),
        ("KmsDisabled", 400, SqsDenied, "enable the queue's key"),
        ("KmsInvalidKeyUsage", 400, SqsDenied, "symmetric key"),
        ("KmsInvalidState", 400, SqsDenied, "cancel the deletion"),
        ("KmsNotFound", 400, SqsDenied, "give the queue a key"),
        ("KmsOptInRequired", 403, SqsDenied, "subscribe"),
        ("KmsThrottled", 400, SqsUnavailable, "try again"),
        ("OverLimit", 403, TooManyInFlight, "120,000"),
        ("QueueDeletedRecently", 400, Conflict, "less than 60 s ago"),
        ("InvalidClientTokenId", 403, SqsDenied, "AWS_SESSION_TOKEN"),
        ("QueueDoesNotExist", 400, QueueMissing, "the-url"),
        ("Whatever", 429, SqsUnavailable, "try again"),
    ],
)
def test_error_names_its_remedy(code: str, status: int, kind: type[Exception], words: str) -> None:
    error = error_for(code, "what SQS said", status=status, queue_url="the-url", address="http://sqs:1")

    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
