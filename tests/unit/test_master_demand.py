"""What a fleet of workers is scaled by."""

from __future__ import annotations

from bson import ObjectId

from jobs.master.demand import slots_wanted
from jobs.master.planner import WaitingQueue
from jobs.models import Assignment


def waiting(name: str, wanted: int, pool: str | None = None) -> WaitingQueue:
    return WaitingQueue(ObjectId(), name, 0, 0.0, wanted, "log", pool)


def test_nobody_wants_anything() -> None:
    assert slots_wanted([], [], lambda one: None) == {}


def test_a_pool_wants_what_its_queues_have_and_wait_for() -> None:
    held = [Assignment(queue_url=name) for name in ("busy", "busy", "hot", "images")]
    # `hot` has one consumer and wants three in all.
    found = slots_wanted(
        [waiting("hot", 3), waiting("films", 2, "gpu")], held, lambda one: "gpu" if one.queue_url == "images" else None
    )
    assert found == {"default": 5, "gpu": 3}
