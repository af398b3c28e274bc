"""The actions on queues. Each is a row of `ACTIONS` that says everything about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs import services as processing
from jobs import silences
from queues import pausing, services, tasks, tripping
from queues.messages import redrive
from queues.models import Queue
from queues.patience import Patience
from queues.pausing import Note
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock, mongodb_errors
from queuesite.foundation.errors import InvalidInput, QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.foundation.quantities import duration
from queuesite.models import BackgroundTask
from queuesite.tasks import start

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass
class Report:
    """What an action did and what it skipped, each in words by the queue's name."""

    done: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    #: The background task, if there is one.
    tasks: list[BackgroundTask] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """Who asked for an action, and why; `change` is its id, which undoes it."""

    user: User
    reason: str = ""
    change: str = field(default_factory=pausing.new_change)


#: Digits of a number that is read at all; Python takes ever longer for more, and refuses 4,301.
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Value:
    """The whole number that an action takes from its form."""

    label: str
    low: int
    highest: Callable[[], int]
    #: The name of its field.
    name: str = "value"
    #: The numbers that the form offers, in words; none: it takes any.
    choices: tuple[tuple[int, str], ...] = ()
    #: The one of them that is chosen at first.
    initial: int | None = None
    #: What it is, if the label does not say so.
    noun: str = ""

    @property
    def high(self) -> int:
        """The highest value that the configuration allows."""
        return self.highest()

    def parse(self, text: str) -> int:
        """The number. Raises `InvalidInput` for any other text. The services check its range."""
        if not text.isdecimal() or len(text) > _MOST_DIGITS:
            raise InvalidInput(f"enter the {self.noun or self.label.lower()}, {self.low} to {self.high}")
        return int(text)


@dataclass(frozen=True)
class Question:
    """The confirmation of an action: "It `verb` N messages `consequence`"."""

    verb: str
    consequence: str
    #: How many messages it concerns, from the counts of the queue and of its dead-letter queue.
    concerns: Callable[[int, int], int]
    #: Whether it deletes messages.
    final: bool = True
    #: It concerns no message of a queue that others own, and what is said of those.
    spares_adopted: str = ""


@dataclass(frozen=True)
class Action:
    """An action on several queues. `run` gets them, the form's value, and who asked."""

    name: str
    label: str
    permission: str
    run: Callable[[Report, Sequence[Queue], int | None, Asked], None]
    value: Value | None = None
    question: Question | None = None
    #: Whether it concerns every queue, selected or not.
    everything: bool = False
    #: Whether it asks why, and can be undone.
    undoable: bool = False
    #: Whether it asks why, whether or not it can be undone.
    asks_why: bool = False
    #: Whether it deletes the queues.
    deletes: bool = False
    #: How a background task takes it, if `run` would start a task for each queue.
    in_task: Callable[[Report, Sequence[Queue], int | None, Asked], None] | None = None
    #: Whether a queue's own page offers it.
    offered: Callable[[Queue], bool] = lambda queue: True

    @property
    def takes(self) -> str:
        """The fields that it takes, for the form that shows them."""
        why = self.undoable or self.asks_why
        return " ".join(([self.value.name] if self.value else []) + (["reason"] if why else []))

    @property
    def destroys(self) -> bool:
        """Whether it deletes anything, so that its button looks dangerous and stands apart."""
        return self.question is not None and self.question.final


def to_type(queues: Sequence[Queue]) -> str:
    """What is typed before these queues are deleted: the name of one, or the number of several."""
    return queues[0].name if len(queues) == 1 else str(len(queues))


def _each(act: Callable[[Queue, int | None, Asked], tuple[bool, str]]) -> Callable[..., None]:
    """Take an action queue by queue. `act` returns whether it changed anything, and what to say about it."""

    def run(report: Report, queues: Sequence[Queue], value: int | None, asked: Asked) -> None:
        for queue in queues:
            try:
                with mongodb_errors():
                    changed, words = act(queue, value, asked)
            except QueuesiteError as error:
                changed, words = False, public_text(error)
            (report.done if changed else report.skipped)[queue.name] = words

    return run


def _note(asked: Asked) -> Note:
    return Note(asked.reason, asked.change)


def _pause(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    changed = services.set_paused(queue.name, True, _note(asked))
    return changed, "paused" if changed else "paused already"


def _resume(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    changed = services.set_paused(queue.name, False, _note(asked))
    return changed, "resumed" if changed else "not paused"


def _notify(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    services.notify(queue.name)
    return True, "notified"


def _try_now(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    changed = tripping.try_now(queue.name)
    return changed, "tried now" if changed else "not backing off"


def _set_concurrency(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    if value == queue.concurrency:
        return False, f"concurrency {value} already"
    services.update(queue.name, {"concurrency": value})
    return True, f"concurrency set from {queue.concurrency} to {value}"


def _silence(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    span = timedelta(minutes=value or 0)
    silences.begin([queue.name], span, asked.reason)
    return True, f"silenced for {duration(span.total_seconds())}"


def _end_silence(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    changed = silences.end_of([queue.name]) > 0
    return changed, "no longer silent" if changed else "not silenced"


def _delete(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    processing.delete_queue(queue.name)
    return True, "deleted" if queue.managed else "forgotten; SQS keeps it"


def _purge_one(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    services.purge(queue.name)
    return True, "purged"


def _purge(report: Report, queues: Sequence[Queue], value: int | None, asked: Asked) -> None:
    if len(queues) == 1:
        _each(_purge_one)(report, queues, value, asked)
        return
    names = [queue.name for queue in queues]
    report.tasks.append(start(tasks.purge, asked.user, total=len(names), queues=names))
    report.done.update(dict.fromkeys(names, "to be purged"))


def _redrive_here(queue: Queue, value: int | None, asked: Asked) -> tuple[bool, str]:
    moved = redrive(queue.name).moved
    return moved > 0, "redriven" if moved else "no dead letters"


def _redrive(report: Report, queues: Sequence[Queue], value: int | None, asked: Asked) -> None:
    patience = Patience()
    for queue in queues:
        try:
            dead = patience.ask(lambda queue=queue: services.dead_letters(queue))  # type: ignore[misc]
        except QueuesiteError as error:
            report.skipped[queue.name] = public_text(error)
            continue
        if not dead:
            report.skipped[queue.name] = "no dead letters" if queue.dlq_url else "no dead-letter queue"
            continue
        report.tasks.append(start(tasks.redrive, asked.user, total=dead, queue=queue.name))
        report.done[queue.name] = "to be redriven"


def _sync(report: Report, queues: Sequence[Queue], value: int | None, asked: Asked) -> None:
    report.tasks.append(start(tasks.run_sync, asked.user))


_CHANGE = "queues.change_queue"

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("pause", "Pause", _CHANGE, _each(_pause), undoable=True, offered=lambda queue: not queue.paused),
        Action("resume", "Resume", _CHANGE, _each(_resume), undoable=True, offered=lambda queue: queue.paused),
        Action("notify", "Notify (look at it now)", _CHANGE, _each(_notify)),
        Action(
            "try-now",
            "Try now (end the backoff)",
            _CHANGE,
            _each(_try_now),
            offered=lambda queue: queue.not_before is not None and queue.not_before > database_clock.now(),
        ),
        Action(
            "concurrency",
            "Set concurrency",
            _CHANGE,
            _each(_set_concurrency),
            value=Value("Concurrency", 1, lambda: get_config().max_concurrency),
            offered=lambda queue: False,  # that page has it among the settings
        ),
        Action(
            "silence",
            "Silence notices",
            "jobs.silence_alert",
            _each(_silence),
            value=Value(
                "For",
                1,
                lambda: int(silences.LONGEST.total_seconds() // 60),
                "minutes",
                tuple((minutes, duration(60 * minutes)) for minutes in silences.SPANS),
                silences.USUAL_SPAN,
                "minutes of silence",
            ),
            asks_why=True,
            offered=lambda queue: False,  # that page leads to the form of silences
        ),
        Action(
            "end-silence",
            "End the silence of notices",
            "jobs.silence_alert",
            _each(_end_silence),
            offered=lambda queue: False,
        ),
        Action(
            "redrive",
            "Redrive dead letters",
            "queues.redrive_queue",
            _redrive,
            question=Question(
                "moves back",
                "from the dead-letter queues to their queues, in the background, where they are handled again.",
                lambda messages, dead: dead,
                final=False,
            ),
            in_task=_each(_redrive_here),
            offered=lambda queue: queue.dlq_url is not None,
        ),
        Action(
            "purge",
            "Purge",
            "queues.purge_queue",
            _purge,
            question=Question(
                "deletes",
                "that are visible, delayed or in flight; dead letters stay. You cannot undo this.",
                lambda messages, dead: messages,
            ),
        ),
        Action(
            "delete",
            "Delete",
            "queues.delete_queue",
            _each(_delete),
            question=Question(
                "deletes",
                "and the queues, with their dead-letter queues, here and in SQS. You cannot undo this.",
                lambda messages, dead: messages + dead,
                spares_adopted="others own it: it stays in SQS with its messages, and is forgotten here with its "
                "records",
            ),
            deletes=True,
        ),
        Action("sync", "Sync all queues with SQS", _CHANGE, _sync, everything=True, offered=lambda queue: False),
    )
}


#: Most queues that a message names; it gives the number of the others.
_NAMED = 10


def summary(words: dict[str, str]) -> str:
    """What was done to queues, or why they were skipped. Queues with the same text are named together."""
    by_words: dict[str, list[str]] = {}
    for name, said in words.items():
        by_words.setdefault(said, []).append(name)
    return "; ".join(
        f"{len(names)} {said}: {', '.join(names[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for said, names in by_words.items()
    )
