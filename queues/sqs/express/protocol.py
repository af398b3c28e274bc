"""SQS's JSON protocol: what the hot operations ask, and what the answers mean. No I/O, and no library.

    call = receive(queue_url, limit=10, wait=20)
    … send `call.body` with `headers(call.operation)`, signed …
    messages = answer_of(call, status, headers, body)      # or raises Refusal, Garbled

A client of any kind (blocking, or of an event loop) does with it what it asks of `wire` and `retries`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from queues.sqs.refusals import BatchFailure, canonical, error_for, failures_of
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult
from queuesite.foundation.errors import Conflict, ServerError, SqsUnavailable

T = TypeVar("T")

#: Longest part of an answer that is not an answer of SQS's (a proxy's page, say) that an error quotes.
_QUOTED = 200

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request: `body` is to be posted, and `result` makes our values of the answer's JSON."""

    operation: str
    queue_url: str
    body: bytes
    result: Callable[[Any], T]
    #: Seconds for which SQS may let the answer wait.
    wait: int = 0
    #: Whether it can be repeated without harm if its outcome is unknown.
    repeatable: bool = True


class Refusal(Exception):
    """An answer that is an error. `code` is canonical; it is empty if the answer has none."""

    def __init__(self, code: str, text: str, status: int) -> None:
        self.code, self.text, self.status = code, text, status
        super().__init__(f"{code or status}: {text}")

    def error(self, address: str, queue_url: str) -> ServerError | Conflict:
        """Our error for it. `address` is SQS's, as it may be shown."""
        return error_for(self.code, self.text, status=self.status, queue_url=queue_url, address=address)


class Garbled(Exception):
    """An answer that is not SQS's, with the status of a success."""

    def error(self, address: str) -> ServerError:
        """Our error for it. `address` is SQS's, as it may be shown."""
        return SqsUnavailable(f"what answers at {address} is not SQS ({self}); is AWS_SQS_ENDPOINT right?")


def headers(operation: str) -> dict[str, str]:
    """The headers that the protocol needs, in lower case; all are to be signed."""
    return {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"AmazonSQS.{operation}",
        # Asks for the older codes of errors, in x-amzn-query-error: those that boto3 shows.
        "x-amzn-query-mode": "true",
    }


def answer_of(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> T:
    """The result of `call`. `headers` are the answer's, by their names in lower case.

    Raises `Refusal` if SQS answered with an error, and `Garbled` if it was not SQS that answered.
    """
    if status >= 300:
        raise refusal(status, headers, body)
    try:
        return call.result(json.loads(body) if body else {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # JSON may hold messages, which are nobody else's business.
        shown = f"JSON without {error}" if body.lstrip()[:1] in (b"{", b"[") else _quoted(body)
        raise Garbled(f"{call.operation}: {shown}") from error


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """The error of an answer whose status is not that of a success."""
    try:
        answer = json.loads(body) if body else {}
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Refusal("", _quoted(body), status)
    # The code of the older protocol, as boto3 takes it: "AWS.SimpleQueueService.NonExistentQueue;Sender".
    code, fault, _ = (*headers.get("x-amzn-query-error", "").split(";"), "", "")[:3]
    if not code or not fault:
        code = str(answer.get("__type") or answer.get("code") or "")
    text = answer.get("message") or answer.get("Message") or ""
    return Refusal(canonical(code), " ".join(str(text).split()), status)


def _quoted(body: bytes) -> str:
    text = " ".join(body[: 4 * _QUOTED].decode(errors="replace").split())
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"


# --- the operations ---


def receive(
    queue_url: str,
    *,
    limit: int,
    wait: int,
    visibility: int | None = None,
    attempt_id: str | None = None,
    system: Sequence[str] = NEEDED_ATTRIBUTES,
) -> Call[list[ReceivedMessage]]:
    """`DataPlane.receive`. A repetition is another receive; with an attempt id, on a FIFO queue, it is the same one."""
    asked: dict[str, Any] = {
        "QueueUrl": queue_url,
        "MaxNumberOfMessages": limit,
        "WaitTimeSeconds": wait,
        "MessageSystemAttributeNames": list(system),
        "MessageAttributeNames": ["All"],
    }
    if visibility is not None:
        asked["VisibilityTimeout"] = visibility
    if attempt_id is not None:
        asked["ReceiveRequestAttemptId"] = attempt_id
    return Call("ReceiveMessage", queue_url, _body(asked), _received, wait)


def _received(answer: Any) -> list[ReceivedMessage]:
    return [
        ReceivedMessage(
            message_id=item["MessageId"],
            receipt_handle=item["ReceiptHandle"],
            body=item["Body"],
            attributes=_attributes(item["MessageAttributes"]) if item.get("MessageAttributes") else {},
            system=item.get("Attributes") or {},
        )
        for item in answer.get("Messages") or ()
    ]


def _attributes(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for value in found.values():
        if value.get("BinaryValue") is not None:
            value["BinaryValue"] = b64decode(value["BinaryValue"])
    return found


def send(queue_url: str, messages: Sequence[OutgoingMessage]) -> Call[SendResult]:
    """`DataPlane.send`.

    A FIFO queue drops what comes a second time within five minutes: each message has a deduplication id, or the queue
    makes one of its body, or SQS refuses it. A standard queue has nothing of the kind.
    """
    entries = [_entry(index, message) for index, message in enumerate(messages)]
    asked = {"QueueUrl": queue_url, "Entries": entries}
    return Call("SendMessageBatch", queue_url, _body(asked), _sent, repeatable=queue_url.endswith(".fifo"))


def _entry(index: int, message: OutgoingMessage) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(index), "MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = {name: _typed(value) for name, value in message.attributes.items()}
    if message.delay is not None:
        entry["DelaySeconds"] = message.delay
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if message.deduplication_id is not None:
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry


def _typed(value: dict[str, Any]) -> dict[str, Any]:
    binary = value.get("BinaryValue")
    if binary is None:
        return value
    return {**value, "BinaryValue": b64encode(binary if isinstance(binary, bytes) else binary.encode()).decode()}


def _sent(answer: Any) -> SendResult:
    return SendResult(
        {int(item["Id"]): item["MessageId"] for item in answer.get("Successful") or ()},
        failures_of(answer),
    )


def delete(queue_url: str, receipt_handles: Sequence[str]) -> Call[tuple[BatchFailure, ...]]:
    """`DataPlane.delete`."""
    entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(receipt_handles)]
    return Call("DeleteMessageBatch", queue_url, _body({"QueueUrl": queue_url, "Entries": entries}), failures_of)


def change_visibility(queue_url: str, changes: Sequence[tuple[str, int]]) -> Call[tuple[BatchFailure, ...]]:
    """`DataPlane.change_visibility`."""
    entries = [
        {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
        for index, (handle, seconds) in enumerate(changes)
    ]
    asked = {"QueueUrl": queue_url, "Entries": entries}
    return Call("ChangeMessageVisibilityBatch", queue_url, _body(asked), failures_of)


#: The attributes that a depth is made of.
DEPTH_ATTRIBUTES = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def depth(queue_url: str) -> Call[Depth]:
    """`DataPlane.depth`."""
    asked = {"QueueUrl": queue_url, "AttributeNames": DEPTH_ATTRIBUTES}
    return Call("GetQueueAttributes", queue_url, _body(asked), _depth)


def _depth(answer: Any) -> Depth:
    counts = answer.get("Attributes") or {}
    return Depth(*(int(counts.get(name, 0)) for name in DEPTH_ATTRIBUTES))


def _body(asked: dict[str, Any]) -> bytes:
    return _encode(asked).encode()
