"""A proxy in front of the embedded SQS that behaves as AWS or LocalStack 4.13 does.

    sqs = AwsBehaviour(faulty)           # or LocalStackBehaviour(faulty)
    sqs.age(43_000)                      # as if what is in flight had been received so much earlier
    sqs.lag = 2.0                        # counts are those of two seconds ago
    sqs.most_in_flight = 5               # a receive beyond is OverLimit
    sqs.kms = "KmsDisabled"              # sends and receives are refused with it
    sqs.throttle("DeleteMessageBatch", {1}, times=1)   # these entries of a batch are throttled

Both always answer as their model does for receipt handles, move tasks and names of queues that were just deleted. The
proxy's own rules (`faulty.refuse(…)`) take precedence. Sources: AWS's API reference and texts that users reported
(aws-sdk-java #1628, localstack #3956, sqsmover #54); LocalStack's provider.py and models.py of 4.13.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.support.faults import Answer, Forward, Refused, SqsProxy

Parameters = dict[str, Any]
Failure = dict[str, Any]

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass
class Issued:
    """A receipt handle that was returned by a receive."""

    queue: str
    message_id: str
    received_at: float
    hidden_until: float
    #: Its message was deleted, or received again.
    gone: bool = False


class AwsBehaviour:
    """AWS's answers."""

    #: The code of the query protocol, which boto3 shows.
    spelt: ClassVar[dict[str, str]] = {
        "MessageNotInflight": "AWS.SimpleQueueService.MessageNotInflight",
        "QueueDeletedRecently": "AWS.SimpleQueueService.QueueDeletedRecently",
        "KmsAccessDenied": "KMS.AccessDeniedException",
        "KmsDisabled": "KMS.DisabledException",
        "KmsThrottled": "KMS.ThrottlingException",
    }
    sender_fault = True
    #: Most seconds from a receive to the end of its visibility timeout.
    limit: float | None = 43_200
    #: Whether changing the visibility of a message that is visible again is refused.
    knows_not_in_flight = True
    #: How long the name of a deleted queue stays taken, in seconds.
    name_is_kept = 60.0

    def __init__(self, proxy: SqsProxy) -> None:
        self.lag = 0.0
        self.most_in_flight: int | None = None
        self.kms = ""
        self._proxy = proxy
        self._lock = threading.RLock()
        self._issued: dict[str, Issued] = {}
        self._samples: defaultdict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)
        self._deleted: dict[str, float] = {}
        self._throttled: dict[str, tuple[set[int], int]] = {}
        self._tasks: list[dict[str, Any]] = []
        self._answers: dict[str, Answer] = {
            "ReceiveMessage": self._receive,
            "SendMessageBatch": self._send,
            "DeleteMessageBatch": self._delete,
            "ChangeMessageVisibilityBatch": self._change,
            "GetQueueAttributes": self._attributes,
            "CreateQueue": self._create,
            "DeleteQueue": self._delete_queue,
            "StartMessageMoveTask": self._start_task,
            "ListMessageMoveTasks": self._list_tasks,
        }
        proxy.behaviour = self._answers.get

    def age(self, seconds: float) -> None:
        """Shift every receive so many seconds into the past, with the messages still in flight."""
        with self._lock:
            for issued in self._issued.values():
                issued.received_at -= seconds

    def throttle(self, action: str, places: set[int], *, times: int) -> None:
        """Throttle the entries at these positions of the next `times` batches."""
        self._throttled[action] = (places, times)

    # --- messages ---

    def _receive(self, parameters: Parameters, forward: Forward) -> Parameters:
        self._refuse_by_kms()
        url = parameters["QueueUrl"]
        queue = _name(url)
        now = time.monotonic()
        with self._lock:
            held = [i for i in self._issued.values() if i.queue == queue and not i.gone and i.hidden_until > now]
        if self.most_in_flight is not None and len(held) >= self.most_in_flight:
            if queue.endswith(".fifo"):
                return {}
            raise self._refused("OverLimit", "Too many messages in flight", 403)
        self._sample(url)
        answer = forward(parameters)
        visibility = parameters.get("VisibilityTimeout")
        if visibility is None:
            visibility = self._ask_attributes(url)["VisibilityTimeout"]
        now = time.monotonic()
        with self._lock:
            for message in answer.get("Messages", ()):
                for earlier in self._issued.values():
                    earlier.gone |= earlier.message_id == message["MessageId"]
                self._issued[message["ReceiptHandle"]] = Issued(
                    queue, message["MessageId"], now, now + float(visibility)
                )
        self._sample(url)
        return answer

    def _send(self, parameters: Parameters, forward: Forward) -> Parameters:
        self._refuse_by_kms()
        return self._batch("SendMessageBatch", parameters, forward, {})

    def _change(self, parameters: Parameters, forward: Forward) -> Parameters:
        failures: dict[str, Failure | None] = {}
        for entry in parameters["Entries"]:
            handle, seconds = entry["ReceiptHandle"], entry["VisibilityTimeout"]
            issued = self._issued.get(handle)
            now = time.monotonic()
            if issued is None:
                failures[entry["Id"]] = self._unknown(handle)
            elif issued.gone:
                text = "Message does not exist or is not available for visibility timeout change."
                failures[entry["Id"]] = self._invalid(handle, "ReceiptHandle", text)
            elif issued.hidden_until < now:
                not_in_flight = self._failure("MessageNotInflight", "The specified message isn't in flight.")
                failures[entry["Id"]] = not_in_flight if self.knows_not_in_flight else None
            elif self.limit is not None and now - issued.received_at + seconds > self.limit:
                text = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
                failures[entry["Id"]] = self._invalid(seconds, "VisibilityTimeout", text)
        answer = self._batch("ChangeMessageVisibilityBatch", parameters, forward, failures)
        by_id = {entry["Id"]: entry for entry in parameters["Entries"]}
        for done in answer["Successful"]:
            if done["Id"] not in failures:
                entry = by_id[done["Id"]]
                self._issued[entry["ReceiptHandle"]].hidden_until = time.monotonic() + entry["VisibilityTimeout"]
        return answer

    def _delete(self, parameters: Parameters, forward: Forward) -> Parameters:
        failures: dict[str, Failure | None] = {}
        fifo = parameters["QueueUrl"].endswith(".fifo")
        for entry in parameters["Entries"]:
            handle = entry["ReceiptHandle"]
            issued = self._issued.get(handle)
            if issued is None:
                failures[entry["Id"]] = self._unknown(handle)
            elif fifo and issued.hidden_until < time.monotonic():
                failures[entry["Id"]] = self._invalid(handle, "ReceiptHandle", "The receipt handle has expired.")
            elif issued.gone:
                failures[entry["Id"]] = None  # deleting twice is no error
        answer = self._batch("DeleteMessageBatch", parameters, forward, failures)
        by_id = {entry["Id"]: entry for entry in parameters["Entries"]}
        for done in answer["Successful"]:
            self._issued[by_id[done["Id"]]["ReceiptHandle"]].gone = True
        return answer

    def _batch(
        self, action: str, parameters: Parameters, forward: Forward, known: dict[str, Failure | None]
    ) -> Parameters:
        """Pass on the entries not in `known`, which fail with what it says, or succeed silently if that is None."""
        entries = parameters["Entries"]
        places, times = self._throttled.get(action, (set(), 0))
        outcome = dict(known)
        if times:
            self._throttled[action] = (places, times - 1)
            throttled = self._failure("RequestThrottled", "Rate exceeded")
            outcome |= {entry["Id"]: throttled for place, entry in enumerate(entries) if place in places}
        left = [entry for entry in entries if entry["Id"] not in outcome]
        if not left:
            self._ask_attributes(parameters["QueueUrl"])  # refused if there is no such queue
        self._sample(parameters["QueueUrl"])
        answer = forward({**parameters, "Entries": left}) if left else {}
        self._sample(parameters["QueueUrl"])
        return {
            "Successful": [*answer.get("Successful", ()), *({"Id": k} for k, v in outcome.items() if v is None)],
            "Failed": [*answer.get("Failed", ()), *({"Id": k, **v} for k, v in outcome.items() if v is not None)],
        }

    # --- queues ---

    def _attributes(self, parameters: Parameters, forward: Forward) -> Parameters:
        url = parameters["QueueUrl"]
        self._sample(url)
        answer = forward(parameters)
        if self.lag:
            with self._lock:
                samples = self._samples[_name(url)]
                old = [counts for at, counts in samples if at <= time.monotonic() - self.lag] or [samples[0][1]]
            answer["Attributes"] |= {name: old[-1][name] for name in _COUNTS if name in answer["Attributes"]}
        return answer

    def _create(self, parameters: Parameters, forward: Forward) -> Parameters:
        deleted = self._deleted.get(parameters["QueueName"])
        if deleted is not None and time.monotonic() < deleted + self.name_is_kept:
            raise self._refused(
                "QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another"
            )
        return forward(parameters)

    def _delete_queue(self, parameters: Parameters, forward: Forward) -> Parameters:
        answer = forward(parameters)
        self._deleted[_name(parameters["QueueUrl"])] = time.monotonic()
        return answer

    # --- move tasks ---

    def _start_task(self, parameters: Parameters, _: Forward) -> Parameters:
        source = parameters["SourceArn"]
        if not self._is_dead_letter_queue(source):
            raise self._refused("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        task = self._run_task(source, parameters.get("DestinationArn"))
        self._tasks.insert(0, {"SourceArn": source, **task})
        return {"TaskHandle": "a-task"}

    def _run_task(self, source: str, destination: str | None) -> dict[str, Any]:
        url = self._url(source)
        moved = 0
        while messages := self._proxy.ask(
            "ReceiveMessage",
            {
                "QueueUrl": url,
                "MaxNumberOfMessages": 10,
                "VisibilityTimeout": 1,
                "MessageSystemAttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            },
        ).get("Messages"):
            for message in messages:
                system = message["Attributes"]
                to = destination or system.get("DeadLetterQueueSourceArn")
                if to is None:
                    reason = "CouldNotDetermineMessageSource"
                    return {"Status": "FAILED", "FailureReason": reason, "ApproximateNumberOfMessagesMoved": moved}
                copy = {"QueueUrl": self._url(to), "MessageBody": message["Body"]}
                if "MessageAttributes" in message:
                    copy["MessageAttributes"] = message["MessageAttributes"]
                if to.endswith(".fifo"):
                    copy["MessageGroupId"] = system["MessageGroupId"]
                    copy["MessageDeduplicationId"] = message["MessageId"]
                self._proxy.ask("SendMessage", copy)
                self._proxy.ask("DeleteMessage", {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})
                moved += 1
        return {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": moved}

    def _list_tasks(self, parameters: Parameters, _: Forward) -> Parameters:
        # A task that has ended has no handle.
        return {"Results": [task for task in self._tasks if task["SourceArn"] == parameters["SourceArn"]]}

    def _is_dead_letter_queue(self, arn: str) -> bool:
        for url in self._proxy.ask("ListQueues", {"QueueNamePrefix": arn.rpartition(":")[2][:4]}).get("QueueUrls", ()):
            try:
                policy = json.loads(self._ask_attributes(url).get("RedrivePolicy", "{}"))
            except Refused:  # another test's queue, which has just been deleted
                continue
            if policy.get("deadLetterTargetArn") == arn:
                return True
        return False

    def _url(self, arn: str) -> str:
        return str(self._proxy.ask("GetQueueUrl", {"QueueName": arn.rpartition(":")[2]})["QueueUrl"])

    # --- spellings ---

    def _refused(self, code: str, text: str, status: int = 400) -> Refused:
        return Refused(self.spelt.get(code, code), text, status)

    def _refuse_by_kms(self) -> None:
        if self.kms:
            raise self._refused(self.kms, "made up by the key's policy")

    def _failure(self, code: str, text: str) -> Failure:
        return {"Code": self.spelt.get(code, code), "Message": text, "SenderFault": self.sender_fault}

    def _invalid(self, value: object, parameter: str, reason: str) -> Failure:
        text = f"Value {value} for parameter {parameter} is invalid. Reason: {reason}"
        return self._failure("InvalidParameterValue", text)

    def _unknown(self, handle: str) -> Failure:
        return self._failure(
            "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.'
        )

    # --- counts ---

    def _ask_attributes(self, url: str) -> dict[str, str]:
        attributes: dict[str, str] = self._proxy.ask(
            "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]}
        )["Attributes"]
        return attributes

    def _sample(self, url: str) -> None:
        if self.lag:
            found = self._ask_attributes(url)
            with self._lock:
                self._samples[_name(url)].append((time.monotonic(), {name: found[name] for name in _COUNTS}))


class LocalStackBehaviour(AwsBehaviour):
    """LocalStack 4.13's answers: its names of exceptions, no fault of the sender's, URLs of its own domain."""

    spelt: ClassVar[dict[str, str]] = {"InvalidParameterValue": "InvalidParameterValueException"}
    sender_fault = False
    limit = None
    knows_not_in_flight = False
    name_is_kept = 0.0

    def __init__(self, proxy: SqsProxy) -> None:
        super().__init__(proxy)
        self._answers |= {"GetQueueUrl": self._with_urls, "ListQueues": self._with_urls}

    def _create(self, parameters: Parameters, forward: Forward) -> Parameters:
        return self._with_urls(parameters, lambda given: super(LocalStackBehaviour, self)._create(given, forward))

    def _run_task(self, source: str, destination: str | None) -> dict[str, Any]:
        return {"Status": "FAILED", "FailureReason": "TypeError", "ApproximateNumberOfMessagesMoved": 0}

    def _with_urls(self, parameters: Parameters, forward: Forward) -> Parameters:
        answer = forward(parameters)
        if "QueueUrl" in answer:
            answer["QueueUrl"] = _at_localstack(answer["QueueUrl"])
        if "QueueUrls" in answer:
            answer["QueueUrls"] = [_at_localstack(url) for url in answer["QueueUrls"]]
        return answer


def _at_localstack(url: str) -> str:
    return f"http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/{_name(url)}"


def _name(url: str) -> str:
    return url.rpartition("/")[2]
