"""Workers, as the API returns and changes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from jobs import services
from jobs.models import Worker
from jobs.placement import offer_of
from queuesite.api.schemas import In, Out, Timestamp

_WORKER = "host-1-4711-6f1d2c3b"


def _plain(value: Any) -> Any:
    """`value`, as text if JSON has no such type (an ObjectId)."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


class WorkerOut(Out):
    """A worker."""

    id: str = Field(examples=[_WORKER])
    host: str = Field(examples=["host-1"])
    pid: int = Field(examples=[4711])
    capacity: int = Field(description="consumers that it runs at once", examples=[5])
    wanted_capacity: int | None = Field(
        description="the capacity that somebody has set; null: nobody has, so it is its MAX_LOAD",
        examples=[None],
    )
    capacity_limit: int | None = Field(
        description="the highest capacity that it can be given (MAX_LOAD_LIMIT); null: an earlier release without one",
        examples=[10],
    )
    load: int = Field(description="assignments that it holds", examples=[2])
    draining: bool = Field(description="whether it takes no more assignments", examples=[False])
    alive: bool = Field(description="whether its heartbeat is recent", examples=[True])
    heartbeat_age: float = Field(description="seconds since its last heartbeat", examples=[0.8])
    pool: str | None = Field(
        description="null: it runs an earlier release, which announces nothing", examples=["default"]
    )
    version: str = Field(description="of its handlers' code", examples=["2.1"])
    handlers: dict[str, str] = Field(description="the version of each handler that it has", examples=[{"log": "2.1"}])
    started_at: Timestamp
    heartbeat_at: Timestamp
    listens: int = Field(description="idle queues that it may listen to (LISTEN_QUEUES)", examples=[200])
    listener: dict[str, Any] = Field(
        description="what its listener does: the queues that it holds and the polls that are open, its pid, its memory "
        "in bytes and its requests so far; empty without one",
        examples=[{"pid": "4712", "queues": 40, "polls": 40, "memory": 90_000_000, "requests": 1_200}],
    )
    consumers: list[dict[str, Any]] = Field(
        description="what it runs, with the live counts of its last heartbeat; `finishing`: the run receives "
        "nothing more and holds no assignment, but some of its handlers still run",
        examples=[[{"jobId": "6ae3f1c2d4b5a69788990011", "queueName": "orders", "processed": 12, "failed": 0}]],
    )

    @classmethod
    def of(cls, worker: Worker, load: int, now: datetime) -> WorkerOut:
        return cls(
            id=worker.worker_id,
            host=worker.host,
            pid=worker.pid,
            capacity=worker.capacity,
            wanted_capacity=worker.wanted_capacity,
            capacity_limit=worker.capacity_limit,
            load=load,
            draining=worker.draining,
            alive=services.is_alive(worker, now),
            heartbeat_age=round(max(0.0, (now - worker.heartbeat_at).total_seconds()), 3),
            pool=worker.pool,
            version=worker.version,
            handlers=dict(offer_of(worker).versions or {}),
            started_at=worker.started_at,
            heartbeat_at=worker.heartbeat_at,
            listens=worker.listens,
            listener={name: _plain(value) for name, value in worker.listener.items()},
            consumers=[{name: _plain(value) for name, value in c.items()} for c in worker.consumers],
        )


class WorkerPatch(In):
    """What to change of a running worker."""

    capacity: int | None = Field(
        ge=1,
        le=1_000,
        description="consumers that it runs at once, up to its `capacityLimit`; null: its MAX_LOAD again",
        examples=[8],
    )


class DrainedOut(Out):
    """A worker that was asked to end."""

    id: str = Field(examples=[_WORKER])
    draining: bool = Field(examples=[True])
    changed: bool = Field(description="false if it was asked before", examples=[True])
