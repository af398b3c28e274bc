"""Faults between us and SQS, over each transport: the same errors, and nothing done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from queues.sqs import Depth, OutgoingMessage
from queues.sqs.express import transport as express
from queues.sqs.express.retries import Kind, ServerClock
from queues.sqs.express.transport import ExpressTransport
from queues.sqs.gateway import SqsGateway
from queues.sqs.preparation import credentials_of, prepare
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import QueueMissing, SqsDenied, SqsRejected, SqsUnavailable, TooManyInFlight
from tests.conftest import Configure
from tests.integration.test_sqs_gateway import named, receive
from tests.support.aws_behaviour import AwsBehaviour
from tests.support.faults import Forward, Refused, SqsProxy

#: Each hot operation, and its name in SQS.
OPERATIONS: dict[str, Callable[[SqsGateway, str], Any]] = {
    "ReceiveMessage": lambda gateway, url: gateway.receive(url, limit=1, wait=0),
    "DeleteMessageBatch": lambda gateway, url: gateway.delete(url, ["h"]),
    "ChangeMessageVisibilityBatch": lambda gateway, url: gateway.change_visibility(url, [("h", 1)]),
    "SendMessageBatch": lambda gateway, url: gateway.send(url, [OutgoingMessage("m")]),
    "GetQueueAttributes": lambda gateway, url: gateway.depth(url),
}
REPEATABLE = [name for name in OPERATIONS if name != "SendMessageBatch"]


@pytest.fixture
def gateway(transport: str, faulty: SqsProxy) -> Iterator[SqsGateway]:
    """Reaches SQS through the proxy."""
    made = SqsGateway(get_config())
    yield made
    made.close()


@pytest.fixture
def url(gateway: SqsGateway) -> str:
    return gateway.create_queue(named("orders"), {"VisibilityTimeout": "30"})


@pytest.fixture
def fifo(gateway: SqsGateway) -> str:
    return gateway.create_queue(named("orders.fifo"), {"FifoQueue": "true"})


class TestCuts:
    def test_what_does_no_harm_is_repeated(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        for operation in REPEATABLE:
            for after in (False, True):
                faulty.cut(operation, after=after, times=1)
                before = faulty.count(operation)

                OPERATIONS[operation](gateway, url)

                assert faulty.count(operation) == before + 2, operation

    def test_lasting_ones_are_an_outage(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        for operation in REPEATABLE:
            faulty.cut(operation)

            with pytest.raises(SqsUnavailable, match="does not answer; is it running"):
                OPERATIONS[operation](gateway, url)

            assert faulty.count(operation) == 3, operation

    def test_send_to_a_fifo_queue_is_repeated_and_arrives_once(
        self, gateway: SqsGateway, faulty: SqsProxy, fifo: str
    ) -> None:
        faulty.cut("SendMessageBatch", after=True, times=1)

        result = gateway.send(fifo, [OutgoingMessage("m", group="g", deduplication_id="d")])

        assert list(result.message_ids) == [0]
        assert faulty.count("SendMessageBatch") == 2
        assert [m.body for m in receive(gateway, fifo, 1)] == ["m"]
        assert gateway.receive(fifo, limit=10, wait=0) == []

    def test_requests_are_counted_once(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        before = gateway.requests
        faulty.cut("ReceiveMessage", times=1)

        gateway.receive(url, limit=1, wait=0)

        assert gateway.requests == before + 1


class TestAnswers:
    @pytest.mark.parametrize(("code", "status"), [("ServiceUnavailable", 503), ("ThrottlingException", 400)])
    def test_overload_is_waited_for(
        self,
        gateway: SqsGateway,
        faulty: SqsProxy,
        url: str,
        code: str,
        status: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("random.random", lambda: 0.01)  # no long pauses
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
        for operation, ask in OPERATIONS.items():
            faulty.refuse(operation, code, status=status, times=1)
            ask(gateway, url)
            assert faulty.count(operation) == 2, operation

            faulty.refuse(operation, code, status=status)
            with pytest.raises(SqsUnavailable, match=f"overloaded.*{code.removesuffix('Exception')}"):
                ask(gateway, url)
            assert faulty.count(operation) == 5, operation

    def test_other_errors_are_not_tried_again(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        errors: list[tuple[str, int, type[Exception]]] = [
            ("AWS.SimpleQueueService.NonExistentQueue", 400, QueueMissing),
            ("OverLimit", 403, TooManyInFlight),
            ("AccessDeniedException", 403, SqsDenied),
            ("ExpiredToken", 403, SqsDenied),
            ("KMS.ThrottlingException", 400, SqsUnavailable),
            ("InvalidAddress", 400, SqsRejected),
        ]
        for asked, (code, status, expected) in enumerate(errors, 1):
            faulty.refuse("ReceiveMessage", code, status=status, times=1)

            with pytest.raises(expected):
                gateway.receive(url, limit=1, wait=0)

            assert faulty.count("ReceiveMessage") == asked, code

    def test_half_of_a_batch_fails(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        behaviour = AwsBehaviour(faulty)
        messages = [OutgoingMessage(str(n)) for n in range(4)]
        for action in ("SendMessageBatch", "ChangeMessageVisibilityBatch", "DeleteMessageBatch"):
            behaviour.throttle(action, {1, 3}, times=1)

        sent = gateway.send(url, messages)
        gateway.send(url, messages[:2])
        handles = [m.receipt_handle for m in receive(gateway, url, 4)]

        assert sorted(sent.message_ids) == [0, 2]
        for failures in (
            sent.failures,
            gateway.change_visibility(url, [(handle, 60) for handle in handles]),
            gateway.delete(url, handles),
        ):
            assert [(f.index, f.code, f.transient) for f in failures] == [
                (1, "RequestThrottled", True),
                (3, "RequestThrottled", True),
            ]


class TestThreads:
    def test_a_hundred_share_a_gateway(self, gateway: SqsGateway, url: str) -> None:
        """Each sends, receives and deletes until all messages are through."""
        left = [100]
        lock = threading.Lock()
        seen: list[str] = []

        def work(number: int) -> None:
            gateway.send(url, [OutgoingMessage(str(number))])
            deadline = time.monotonic() + 60
            while left[0] > 0 and time.monotonic() < deadline:
                found = gateway.receive(url, limit=3, wait=1)
                if found:
                    assert gateway.delete(url, [m.receipt_handle for m in found]) == ()
                with lock:
                    left[0] -= len(found)
                    seen.extend(m.body for m in found)

        with ThreadPoolExecutor(100) as pool:
            list(pool.map(work, range(100)))

        assert sorted(map(int, seen)) == list(range(100))
        assert gateway.depth(url) == Depth(0, 0, 0)


class TestExpress:
    """What the express lane does better than boto3."""

    @pytest.fixture
    def transport(self, sqs: object) -> str:
        return "express"

    def test_half_an_answer_is_none(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        """boto3 takes it for one that says nothing: no messages, all deleted."""
        for operation in REPEATABLE:
            faulty.cut(operation, amid=True, times=1)

            OPERATIONS[operation](gateway, url)

            assert faulty.count(operation) == 2, operation

    def test_send_is_not_repeated_if_it_may_have_been_done(
        self, gateway: SqsGateway, faulty: SqsProxy, url: str
    ) -> None:
        for asked, cut in enumerate(({}, {"amid": True}, {"after": True}), 1):
            faulty.cut("SendMessageBatch", times=1, **cut)

            with pytest.raises(SqsUnavailable, match="the messages may have been sent"):
                gateway.send(url, [OutgoingMessage("m")])

            assert faulty.count("SendMessageBatch") == asked, cut

    def test_server_that_does_not_say_what_it_did(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        for operation, ask in OPERATIONS.items():
            for status in (500, 502, 504):
                before = faulty.count(operation)
                faulty.refuse(operation, "InternalFailure", status=status, times=1)
                if operation == "SendMessageBatch":
                    with pytest.raises(SqsUnavailable):
                        ask(gateway, url)
                    assert faulty.count(operation) == before + 1
                else:
                    ask(gateway, url)
                    assert faulty.count(operation) == before + 2, operation

    @pytest.mark.parametrize(("operation", "times"), [("SendMessageBatch", 1), ("DeleteMessageBatch", 3)])
    def test_slow_answers(
        self,
        gateway: SqsGateway,
        faulty: SqsProxy,
        url: str,
        operation: str,
        times: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(express, "READ_SECONDS", 0.1)
        heard = threading.Event()

        def slow(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
            heard.wait(60)
            return forward(parameters)

        faulty.answer(operation, slow)
        try:
            with pytest.raises(SqsUnavailable, match="does not answer"):
                OPERATIONS[operation](gateway, url)
        finally:
            heard.set()

        assert faulty.count(operation) == times

    @pytest.mark.parametrize("seconds", [-3_600.0, 3_600.0])
    def test_wrong_clock_is_corrected(self, gateway: SqsGateway, faulty: SqsProxy, url: str, seconds: float) -> None:
        prepared = prepare(get_config())
        clock = ServerClock(lambda: time.time() + seconds)
        lane = ExpressTransport(prepared, credentials_of(get_config(), prepared), clock)

        def strict(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
            signed = time.mktime(time.strptime(faulty.signed_at[-1], "%Y%m%dT%H%M%SZ")) - time.timezone
            if abs(signed - time.time()) > 300:
                raise Refused("InvalidSignatureException", "Signature expired", 403)
            return forward(parameters)

        faulty.answer("GetQueueAttributes", strict)

        assert lane.depth(url) == Depth(0, 0, 0)
        assert lane.depth(url) == Depth(0, 0, 0)
        assert faulty.count("GetQueueAttributes") == 3  # it has learnt
        lane.close()

    def test_refusal_with_a_right_clock_is_one(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        faulty.refuse("GetQueueAttributes", "SignatureDoesNotMatch", status=403)

        with pytest.raises(SqsDenied):
            gateway.depth(url)

        assert faulty.count("GetQueueAttributes") == 1

    def test_quota_ends_repetitions(
        self, gateway: SqsGateway, faulty: SqsProxy, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An outage is not answered with three times the load for ever."""
        monkeypatch.setattr("random.random", lambda: 0.01)
        faulty.refuse("GetQueueAttributes", "ServiceUnavailable", status=503)
        asked = 0
        while faulty.count("GetQueueAttributes") == 3 * asked and asked < 100:
            asked += 1
            with pytest.raises(SqsUnavailable):
                gateway.depth(url)

        # 500 pay for 35 repetitions at 14 each.
        assert faulty.count("GetQueueAttributes") == asked + 500 // Kind.TRANSIENT.cost

    def test_answer_that_is_not_of_sqs(self, gateway: SqsGateway, faulty: SqsProxy, url: str) -> None:
        faulty.answer("ReceiveMessage", lambda _, __: {"Messages": [{"Body": "and nothing else"}]})

        with pytest.raises(SqsUnavailable, match="is not SQS"):
            gateway.receive(url, limit=1, wait=0)

        assert faulty.count("ReceiveMessage") == 1

    def test_keys_that_expire_between_two_calls(
        self, gateway: SqsGateway, faulty: SqsProxy, url: str, configure: Configure
    ) -> None:
        """Those of the environment are read again, as boto3's files are."""
        configure(aws_access_key_id="ASIANEW", aws_secret_access_key="s", aws_session_token="t")
        faulty.refuse("GetQueueAttributes", "ExpiredToken", status=403, times=1)

        with pytest.raises(SqsDenied, match="have expired"):
            gateway.depth(url)
        gateway.depth(url)

        assert faulty.credentials[-1] == ("ASIANEW", "t")
