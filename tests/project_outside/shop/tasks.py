"""The tasks of the shop, which our workers run."""

import os

from django_tasks import TaskContext, task


@task(queue_name="orders")
def total(*prices: int, discount: int = 0) -> dict[str, int]:
    return {"total": sum(prices) - discount, "process": os.getpid()}


@task(queue_name="orders", takes_context=True)
async def ship(context: TaskContext, order: int) -> str:
    return f"{order} shipped at attempt {context.attempt}"


@task(queue_name="orders")
def charge(card: str) -> None:
    raise LookupError(f"no card {card}")
