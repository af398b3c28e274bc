"""A message's turn in a slot, from the moment that it is taken to its settlement.

    begin (stages) -> the handler -> end (judge, stages) -> settle

Slots that are threads and slots that are tasks of an event loop share this pipeline; they differ only in how they call
the handler. Whatever is raised anywhere in a turn becomes an outcome: a slot must not end, and its message must not be
lost from sight, because a handler's answer is odd or a stage has a fault.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from jobs.consumer.held import Held
from jobs.consumer.outcome import DONE, Outcome, Unfinished, close, failed, judge
from queues.handlers import Message
from queues.handlers.registry import Handler
from queuesite.foundation.logs import get_logger

if TYPE_CHECKING:
    import asyncio

log = get_logger(__name__)


@dataclass(frozen=True)
class HandlerSpec:
    """What the slots do with a message, as of the queue's present settings."""

    queue: str
    handler: Handler
    options: BaseModel | None
    #: Seconds that the handler may take; None: no limit.
    timeout: float | None = None


class Turn:
    """A message in a slot."""

    __slots__ = (
        "cancellable", "ended", "error", "fingerprint", "given_up", "held", "message", "others", "outcome", "result",
        "share", "spec", "started", "task", "thread",
    )  # fmt: skip

    def __init__(self, held: Held, spec: HandlerSpec) -> None:
        self.held = held
        self.spec = spec
        #: When it began and when its handler came back (monotonic clock).
        self.started = self.ended = time.monotonic()
        #: The thread that handles it, and the task if it is handled on the event loop.
        self.thread = threading.get_ident()
        self.task: asyncio.Task[None] | None = None
        #: On the event loop: it is cancelled when its time is over, and given up only if that does not help.
        self.cancellable = False
        #: It ran past its limit and does not end: it has been settled, and its slot is lost.
        self.given_up = False
        #: How many messages the handler gets with this one, itself included; of the first, the turns of the others.
        self.share = 1
        self.others: tuple[Turn, ...] = ()
        self.message: Message | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.outcome: Outcome = DONE
        #: Its kind of failure, once the recorder has counted it.
        self.fingerprint: str | None = None

    @property
    def waited(self) -> float | None:
        """Seconds from the sending of the message to the turn's start, a delay of the sender's included; None: unknown.

        By this machine's clock: SQS's own is asked nowhere else, and a second more or less does no harm.
        """
        sent_at = self.held.message.sent_at
        return max(0.0, time.time() - (time.monotonic() - self.started) - sent_at) if sent_at else None


class Stage:
    """Something that surrounds the handler: a time limit, a measurement. A further one is a subclass in its own file.

    Both methods are called in the turn's thread, which is the event loop's for async handlers, so they must not wait.
    What `before` raises fails the attempt, and the handler is not called. What `after` raises is logged and changes
    nothing, because the outcome is known by then.
    """

    def before(self, turn: Turn) -> None:
        """Called before the handler."""

    def after(self, turn: Turn) -> None:
        """Called once the handler has returned and been judged: `turn.outcome` says what happens to the message."""


class Pipeline:
    """What every turn goes through. `settle` acts on an outcome, and `finished` frees the slot, whatever `settle` did.

    `stages` are called in their order before the handler and after it; one that finds a turn given up is the last.
    """

    def __init__(
        self, stages: Sequence[Stage], settle: Callable[[Held, Outcome], None], finished: Callable[[Held], None]
    ) -> None:
        # Looked up once, and those that do nothing left out: this is done for each message.
        self._before = [stage.before for stage in stages if type(stage).before is not Stage.before]
        self._after = [stage.after for stage in stages if type(stage).after is not Stage.after]
        self._settle = settle
        self._finished = finished

    def begin(self, held: Held, spec: HandlerSpec, started: float | None = None) -> Turn:
        """A turn whose handler may be called with `turn.message`; if that is None, `turn.error` says why not.

        `started` is the moment that its time counts from (monotonic clock), if that is not the present one.
        """
        turn = Turn(held, spec)
        if started is not None:
            turn.started = started
        try:
            for before in self._before:
                before(turn)
            turn.message = Message.received(held.message, spec.queue, spec.options)
        except BaseException as error:
            turn.error = error
        return turn

    def end(self, turn: Turn) -> bool:
        """Judge what the handler returned or raised. False if the turn has been given up: it is settled already."""
        turn.ended = time.monotonic()
        if turn.result is not None or turn.error is not None:
            _judge(turn)
        for after in self._after:
            try:
                after(turn)
            except BaseException:
                log.exception("stage_failed", stage=after.__qualname__, message_id=turn.held.message.message_id)
            if turn.given_up:
                return False
        return True

    def settle(self, turn: Turn) -> None:
        """Act on the outcome, and free the slot. May wait for SQS unless the outcome is `Done`."""
        try:
            self._act(turn)
        finally:
            self._finished(turn.held)

    def settle_batch(self, turns: Sequence[Turn]) -> None:
        """As `settle`, for messages of one slot: it is free when all are settled, and so are their FIFO groups."""
        try:
            for turn in turns:
                self._act(turn)
        finally:
            for turn in reversed(turns):  # the first one counts for the slot
                self._finished(turn.held)

    def _act(self, turn: Turn) -> None:
        try:
            self._settle(turn.held, turn.outcome)
        except BaseException:
            # Its visibility is kept no longer, so that it runs out and the message is handled again.
            log.exception("settling_failed", message_id=turn.held.message.message_id)


def _judge(turn: Turn) -> None:
    receive_count = 1
    try:
        receive_count = turn.held.message.receive_count
        if turn.error is None and turn.result is not None:
            turn.error = Unfinished.of(turn.result)
            if turn.error is not None:
                close(turn.result)
        turn.outcome = judge(turn.result, turn.error, receive_count, turn.spec.handler.retry)
    except BaseException as error:  # the answer may be of a class of the handler's own, which may do anything
        turn.error = error
        turn.outcome = failed(error, receive_count)
