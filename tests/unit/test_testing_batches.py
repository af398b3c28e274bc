"""`jobs.testing` with handlers of batches, and with handlers whose dependency is down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobs.testing import Sandbox, adeliver, deliver, drain
from queues.handlers import Message, Reject, Unavailable, handler
from queues.sqs import OutgoingMessage

pytestmark = pytest.mark.usefixtures("own_registry")


def fill(box: Sandbox, name: str, count: int) -> None:
    box.sqs.send(box.queue(name).queue_url, [OutgoingMessage(f"m{number}") for number in range(count)])


def test_a_delivery_is_a_batch_of_one() -> None:
    @handler("events", batch=10)
    def events(messages: list[Message]) -> dict[str, Any]:
        return {message.id: Reject("odd") for message in messages if message.body == "odd"}

    assert deliver("events", "good").done
    assert deliver("events", "odd").rejected
    assert deliver("events", "odd").reason == "odd"


def test_so_is_one_to_an_async_handler() -> None:
    @handler("events", batch=10)
    async def events(messages: list[Message]) -> None:
        assert len(messages) == 1

    assert deliver("events").done
    assert asyncio.run(adeliver("events")).done


def test_a_drain_handles_batches_and_retries_what_failed(box: Sandbox) -> None:
    sizes: list[int] = []

    @handler("events", batch=100)
    def events(messages: list[Message]) -> dict[str, str]:
        sizes.append(len(messages))
        return {one.id: "not yet" for one in messages if one.body == "m3" and one.receive_count == 1}

    fill(box, "events", 25)
    drained = drain("events")
    assert (drained.processed, drained.failed, drained.dead_letters) == (25, 1, [])
    assert max(sizes) > 1
    assert [str(error) for error in drained.errors] == ["not yet"]


def test_a_dependency_that_is_down_ends_the_drain(box: Sandbox) -> None:
    @handler("payments")
    def payments(message: Message) -> None:
        raise Unavailable("stripe")

    fill(box, "payments", 5)
    drained = drain("payments")
    assert (drained.tripped, drained.failed, drained.dead_letters) == ("stripe is unavailable", 1, [])
    assert deliver("payments").unavailable
    assert deliver("payments").reason == "stripe is unavailable"
