"""The tasks of the shop, which our workers run."""

from __future__ import annotations

import os
import signal

from django_tasks import TaskContext, task


@task(queue_name="shop-tasks")
def total(*prices: int, discount: int = 0) -> dict[str, int]:
    """Add prices up."""
    return {"total": sum(prices) - discount, "process": os.getpid()}


@task(queue_name="shop-tasks", takes_context=True)
async def ship(context: TaskContext, order: int) -> str:
    """Say which attempt it is."""
    return f"{order} shipped at attempt {context.attempt}"


@task(queue_name="shop-tasks")
def charge(card: str) -> None:
    """Fail."""
    raise LookupError(f"no card {card}")


@task(queue_name="shop-tasks")
def crash() -> None:
    """End the process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)
