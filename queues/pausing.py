"""Who paused or resumed a queue, when and why, and how that is undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from queues import repository
from queues.events import EventKind, record
from queuesite.foundation import actor
from queuesite.foundation.actor import MAX_ACTOR
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Characters of a reason.
MAX_REASON = 500


@dataclass(frozen=True)
class Note:
    """Why a queue is paused or resumed; actions on several queues have one `change`, which undoes them together."""

    reason: str = ""
    change: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > MAX_REASON:
            raise InvalidInput(
                f"the reason has {len(self.reason)} characters: expected at most {MAX_REASON}", field="reason"
            )

    def fields(self) -> Mapping[str, Any]:
        """What a queue keeps of it (Python names), as of now and by whoever acts now."""
        return {
            "pause_changed_at": database_clock.now(),
            "pause_changed_by": actor.current()[:MAX_ACTOR],
            "pause_reason": " ".join(self.reason.split()),
            "pause_change": self.change,
        }


def new_change() -> str:
    """The id of an action that can be undone."""
    return uuid4().hex


def undo(change: str) -> list[str]:
    """Resume what an action paused, or pause what it resumed; return the names of these queues.

    A queue that was paused or resumed again since then is left as it is. Each is one write whose filter names the
    action, so that nobody's later decision is overridden.
    """
    done = []
    note = Note("undone")
    for queue in repository.changed_by(change) if change else ():
        try:
            repository.update(
                queue.id,
                {"paused": not queue.paused, **note.fields()},
                wake=queue.paused,
                where={"pauseChange": change, "paused": queue.paused},
            )
        except NotFound:
            continue
        done.append(queue.name)
        log.info("queue_resumed" if queue.paused else "queue_paused", queue=queue.name, by=actor.current(), undo=True)
        record(EventKind.QUEUE_RESUMED if queue.paused else EventKind.QUEUE_PAUSED, queue=queue.name, more=": undone")
    return sorted(done)
