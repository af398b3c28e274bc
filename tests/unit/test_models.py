"""What a queue's definition says of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db.models import Field

from queues import setting_checks
from queues.models import Queue
from queues.settings import SETTINGS, bounds
from queues.sqs import Depth

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_name_and_kind() -> None:
    assert str(Queue(name="orders")) == "orders"
    assert not Queue(name="orders").fifo
    assert Queue(name="orders.fifo").fifo


@pytest.mark.parametrize(
    ("woken", "served", "pending"),
    [
        (None, None, False),
        (None, NOON, False),
        (NOON, None, True),
        (NOON, NOON, False),
        (NOON, NOON - timedelta(milliseconds=1), True),
        (NOON, NOON + timedelta(milliseconds=1), False),
    ],
)
def test_wake_up_is_pending_until_a_later_look(woken: datetime | None, served: datetime | None, pending: bool) -> None:
    assert Queue(name="q", wake_requested_at=woken, served_until=served).wake_pending is pending


def test_depth() -> None:
    assert Queue(depth_visible=1, depth_in_flight=2, depth_delayed=3).depth == Depth(1, 2, 3)
    assert Depth(1, 2, 3).total == 6


@pytest.mark.parametrize("name", ["priority", "max_consumers", "visibility_timeout", "max_receive_count"])
def test_limits_of_the_model_are_those_of_the_services(name: str) -> None:
    low, high = bounds()[name]
    field = Queue._meta.get_field(name)
    assert isinstance(field, Field)
    queue = Queue(name="orders")

    for value in (low, high):
        assert field.clean(value, queue) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValidationError):
            field.clean(value, queue)


def test_defaults_are_within_the_limits() -> None:
    setting_checks.validate_settings({name: getattr(Queue(), name) for name in SETTINGS})
