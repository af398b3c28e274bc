"""What is done to several queues at once: which permission it needs, whether it asks first, what it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from queues import services, tasks
from queues.models import Queue
from queuesite.databases import mongodb_errors
from queuesite.errors import QueuesiteError
from queuesite.models import BackgroundTask
from queuesite.public import public_text
from queuesite.tasks import start

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass
class Report:
    """What was done, and what was not: by queue, in words."""

    done: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    #: What goes on in the background.
    tasks: list[BackgroundTask] = field(default_factory=list)


@dataclass(frozen=True)
class Action:
    """Something that can be done to queues; `run` gets them, the value of the form and who asks."""

    label: str
    permission: str
    run: Callable[[Report, Sequence[Queue], int | None, User], None]
    #: What is at stake: an attribute of `services.Size` summed up in the question, and the question's words.
    asks: str = ""
    #: It concerns every queue, chosen or not.
    everything: bool = False


def _each(act: Callable[[Queue, int | None], tuple[bool, str]]) -> Callable[..., None]:
    """Of what is done to each queue by itself: whether it changed anything, and what is to be said of it."""

    def run(report: Report, queues: Sequence[Queue], value: int | None, owner: User) -> None:
        for queue in queues:
            try:
                with mongodb_errors():
                    changed, words = act(queue, value)
            except QueuesiteError as error:
                changed, words = False, public_text(error)
            (report.done if changed else report.skipped)[queue.name] = words

    return run


def _pause(queue: Queue, value: int | None) -> tuple[bool, str]:
    changed = services.set_paused(queue.name, True)
    return changed, "paused" if changed else "paused already"


def _resume(queue: Queue, value: int | None) -> tuple[bool, str]:
    changed = services.set_paused(queue.name, False)
    return changed, "resumed" if changed else "not paused"


def _notify(queue: Queue, value: int | None) -> tuple[bool, str]:
    services.notify(queue.name)
    return True, "notified"


def _set_concurrency(queue: Queue, value: int | None) -> tuple[bool, str]:
    if value == queue.concurrency:
        return False, f"concurrency {value} already"
    services.update(queue.name, {"concurrency": value})
    return True, f"concurrency set from {queue.concurrency} to {value}"


def _delete(queue: Queue, value: int | None) -> tuple[bool, str]:
    services.delete(queue.name)
    return True, "deleted"


def _purge_one(queue: Queue, value: int | None) -> tuple[bool, str]:
    services.purge(queue.name)
    return True, "purged"


def _purge(report: Report, queues: Sequence[Queue], value: int | None, owner: User) -> None:
    if len(queues) == 1:
        _each(_purge_one)(report, queues, value, owner)
        return
    names = [queue.name for queue in queues]
    report.tasks.append(start(tasks.purge, owner, total=len(names), queues=names))
    report.done.update(dict.fromkeys(names, "to be purged"))


def _redrive(report: Report, queues: Sequence[Queue], value: int | None, owner: User) -> None:
    for queue in queues:
        try:
            dead = services.dead_letters(queue)
        except QueuesiteError as error:
            report.skipped[queue.name] = public_text(error)
            continue
        if not dead:
            report.skipped[queue.name] = "no dead letters" if queue.dlq_url else "no dead-letter queue"
            continue
        report.tasks.append(start(tasks.redrive, owner, total=dead, queue=queue.name))
        report.done[queue.name] = "to be redriven"


def _sync(report: Report, queues: Sequence[Queue], value: int | None, owner: User) -> None:
    report.tasks.append(start(tasks.run_sync, owner))


ACTIONS: dict[str, Action] = {
    "pause": Action("Pause", "queues.change_queue", _each(_pause)),
    "resume": Action("Resume", "queues.change_queue", _each(_resume)),
    "notify": Action("Notify (look at it now)", "queues.change_queue", _each(_notify)),
    "concurrency": Action("Set concurrency", "queues.change_queue", _each(_set_concurrency)),
    "redrive": Action("Redrive dead letters", "queues.redrive_queue", _redrive, asks="moves back"),
    "purge": Action("Purge", "queues.purge_queue", _purge, asks="deletes"),
    "delete": Action("Delete", "queues.delete_queue", _each(_delete), asks="deletes"),
    "sync": Action("Sync all queues with SQS", "queues.change_queue", _sync, everything=True),
}


def stake(action: str, queues: Sequence[Queue]) -> list[dict[str, Any]]:
    """For each queue the messages that an action would move or delete, as SQS counts them now.

    `known` is false where SQS does not answer: the number is what was last seen.
    """
    found = []
    for queue in queues:
        known = True
        try:
            with mongodb_errors():
                size = services.size(queue.name)
            messages, dead = size.depth.total, size.dead_letters
        except QueuesiteError:
            known, messages, dead = False, queue.depth.total, queue.dead_letters
        at_stake = {"purge": messages, "redrive": dead, "delete": messages + dead}[action]
        found.append({"queue": queue, "messages": at_stake, "known": known})
    return found


def told(report: Report) -> tuple[str, str]:
    """What was done, and what was skipped and why, in words."""
    return _told(report.done), _told(report.skipped)


#: Queues that a message names; of more it says how many.
_NAMED = 10


def _told(words: dict[str, str]) -> str:
    """Queues of which the same is to be said are named together."""
    by_words: dict[str, list[str]] = {}
    for name, said in words.items():
        by_words.setdefault(said, []).append(name)
    return "; ".join(
        f"{len(names)} {said}: {', '.join(names[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for said, names in by_words.items()
    )
