"""The gateway and a redrive against what AWS and LocalStack answer, by a double of them."""

from __future__ import annotations

import pytest

from queues import messages, services
from queues.messages import RedriveReport
from queues.sqs import OutgoingMessage, ReceivedMessage, get_gateway
from queues.sqs.gateway import SqsGateway
from queuesite.foundation.errors import Conflict, ServerError, SqsDenied, SqsUnavailable
from tests.integration.test_sqs_gateway import TestMessages as TestMessages
from tests.integration.test_sqs_gateway import named, receive
from tests.integration.test_sqs_gateway import url as url
from tests.support.aws_behaviour import AwsBehaviour, LocalStackBehaviour
from tests.support.faults import SqsProxy
from tests.support.waiting import eventually


@pytest.fixture
def transport() -> str:
    """The default, in the tests above: what a transport makes of an answer does not depend on whose double gave it."""
    return "express"


@pytest.fixture(params=[AwsBehaviour, LocalStackBehaviour], ids=["AWS", "LocalStack"])
def behaviour(request: pytest.FixtureRequest, faulty: SqsProxy) -> AwsBehaviour:
    made = request.param(faulty)
    assert isinstance(made, AwsBehaviour)
    return made


@pytest.fixture
def gateway(behaviour: AwsBehaviour) -> SqsGateway:
    """Takes the place of the plain one in the tests above, too."""
    return get_gateway()


@pytest.fixture
def aws(faulty: SqsProxy) -> AwsBehaviour:
    return AwsBehaviour(faulty)


@pytest.fixture
def aws_url(aws: AwsBehaviour) -> str:
    return get_gateway().create_queue(named("orders"), {"VisibilityTimeout": "30"})


def held(gateway: SqsGateway, url: str, *, visibility: int = 30) -> ReceivedMessage:
    """A message that is in flight."""
    group = "g" if url.endswith(".fifo") else None
    gateway.send(url, [OutgoingMessage("m", group=group, deduplication_id=group)])
    [message] = receive(gateway, url, 1, visibility=visibility)
    return message


class TestHandles:
    def test_change_after_the_delete(self, gateway: SqsGateway, url: str) -> None:
        message = held(gateway, url)
        assert gateway.delete(url, [message.receipt_handle]) == ()

        [failure] = gateway.change_visibility(url, [(message.receipt_handle, 10)])

        assert (failure.code, failure.gone, failure.transient) == ("InvalidParameterValue", True, False)

    def test_second_delete_is_no_failure(self, gateway: SqsGateway, url: str) -> None:
        message = held(gateway, url)

        assert gateway.delete(url, [message.receipt_handle]) == ()
        assert gateway.delete(url, [message.receipt_handle]) == ()

    def test_delete_from_a_fifo_queue_when_the_visibility_has_run_out(self, gateway: SqsGateway) -> None:
        url = gateway.create_queue(named("orders.fifo"), {"FifoQueue": "true"})
        message = held(gateway, url, visibility=0)

        [failure] = gateway.delete(url, [message.receipt_handle])

        assert (failure.code, failure.gone) == ("InvalidParameterValue", True)

    def test_failed_entry_does_not_hold_up_the_others(self, gateway: SqsGateway, url: str) -> None:
        message = held(gateway, url)

        failures = gateway.delete(url, ["no-such-handle", message.receipt_handle])

        assert [(f.index, f.gone) for f in failures] == [(0, True)]
        assert gateway.depth(url).total == 0


class TestLimits:
    def test_12_hours_count_from_the_receive(self, aws: AwsBehaviour, aws_url: str) -> None:
        gateway = get_gateway()
        message = held(gateway, aws_url)
        aws.age(43_000)

        [failure] = gateway.change_visibility(aws_url, [(message.receipt_handle, 300)])

        assert (failure.beyond_limit, failure.gone) == (True, False)
        assert gateway.change_visibility(aws_url, [(message.receipt_handle, 100)]) == ()

    def test_message_that_is_visible_again(self, aws: AwsBehaviour, aws_url: str) -> None:
        message = held(get_gateway(), aws_url, visibility=0)

        [failure] = get_gateway().change_visibility(aws_url, [(message.receipt_handle, 10)])

        assert (failure.code, failure.gone) == ("MessageNotInflight", True)

    def test_too_many_in_flight(self, behaviour: AwsBehaviour, gateway: SqsGateway, url: str) -> None:
        behaviour.most_in_flight = 1
        held(gateway, url)

        with pytest.raises(SqsUnavailable, match=r"too many messages are in flight.*120,000"):
            gateway.receive(url, limit=1, wait=0)

    @pytest.mark.parametrize("code", ["KmsAccessDenied", "KmsDisabled", "KmsNotFound", "KmsInvalidState"])
    def test_key_that_cannot_be_used(self, behaviour: AwsBehaviour, gateway: SqsGateway, url: str, code: str) -> None:
        behaviour.kms = code

        with pytest.raises(SqsDenied, match=f"KMS refused.*{code}"):
            gateway.receive(url, limit=1, wait=0)
        with pytest.raises(SqsDenied, match=f"KMS refused.*{code}"):
            gateway.send(url, [OutgoingMessage("m")])

    def test_key_that_is_asked_too_often(self, behaviour: AwsBehaviour, gateway: SqsGateway, url: str) -> None:
        behaviour.kms = "KmsThrottled"

        with pytest.raises(SqsUnavailable, match="try again"):
            gateway.receive(url, limit=1, wait=0)

    def test_throttled_entries_are_transient(self, behaviour: AwsBehaviour, gateway: SqsGateway, url: str) -> None:
        behaviour.throttle("SendMessageBatch", {0, 2}, times=1)

        result = gateway.send(url, [OutgoingMessage(f"m{i}") for i in range(3)])

        assert sorted(result.message_ids) == [1]
        assert [(f.index, f.transient) for f in result.failures] == [(0, True), (2, True)]

    def test_name_of_a_queue_that_was_just_deleted(self, aws: AwsBehaviour, aws_url: str) -> None:
        get_gateway().delete_queue(aws_url)

        with pytest.raises(Conflict, match="less than 60 s ago"):
            get_gateway().create_queue(named("orders"), {})

    def test_counts_are_late(self, aws: AwsBehaviour, aws_url: str) -> None:
        aws.lag = 0.5
        get_gateway().send(aws_url, [OutgoingMessage("m")])

        assert get_gateway().depth(aws_url).total == 0
        eventually(lambda: get_gateway().depth(aws_url).total == 1, 30, "the count has caught up")


class TestRedrive:
    def test_letters_that_a_consumer_sent(self, behaviour: AwsBehaviour) -> None:
        """AWS knows no source of them, so it fails at them unless the destination is named; LocalStack always fails."""
        queue = services.create("orders")
        assert queue.dlq_url is not None
        get_gateway().send(queue.dlq_url, [OutgoingMessage(f"m{i}") for i in range(9)])
        steps: list[int] = []

        report = messages.redrive("orders", steps.append)

        assert report == RedriveReport(9, by_sqs=type(behaviour) is AwsBehaviour)
        assert sum(steps) == 9
        found = receive(get_gateway(), queue.queue_url, 9)
        assert sorted(m.body for m in found) == sorted(f"m{i}" for i in range(9))

    def test_queue_whose_policy_is_not_in_sqs(self, behaviour: AwsBehaviour) -> None:
        queue = services.create("orders")
        assert queue.dlq_url is not None
        get_gateway().set_attributes(queue.queue_url, {"RedrivePolicy": ""})
        get_gateway().send(queue.dlq_url, [OutgoingMessage("m")])

        assert messages.redrive("orders") == RedriveReport(1, by_sqs=False)

    def test_key_of_the_queue_is_disabled_meanwhile(self, behaviour: AwsBehaviour) -> None:
        queue = services.create("orders")
        assert queue.dlq_url is not None
        get_gateway().set_attributes(queue.queue_url, {"RedrivePolicy": ""})
        get_gateway().send(queue.dlq_url, [OutgoingMessage("m")])
        behaviour.kms = "KmsDisabled"

        with pytest.raises(ServerError, match="enable the queue's key"):
            messages.redrive("orders")

        behaviour.kms = ""
        assert services.size("orders").dead_letters == 1
