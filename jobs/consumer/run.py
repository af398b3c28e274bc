"""A run: one queue, processed from the assignment to its end. Puts the pipeline's parts together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jobs.consumer.acknowledger import Acknowledger
from jobs.consumer.backoff import retry_delay
from jobs.consumer.buffer import Buffer, caution
from jobs.consumer.comebacks import Comebacks
from jobs.consumer.connections import Connections
from jobs.consumer.dead_letters import send_to_dead_letters
from jobs.consumer.demand import prefetch
from jobs.consumer.executor import Executor
from jobs.consumer.handler_loop import HandlerLoop, get_handler_loop
from jobs.consumer.held import Held, spared
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import Done, GiveUp, Outcome, TimedOut, TryAgain, describe, failed
from jobs.consumer.receiver import Receiver, ReceiverHooks
from jobs.consumer.recorder import Recorder
from jobs.consumer.refused import Refusals
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.consumer.time_limits import TimeLimits, stack_of
from jobs.consumer.turn import Pipeline, Turn, Work
from jobs.consumer.visibility import VisibilityKeeper
from jobs.consumer.windows import window
from jobs.models import EndReason
from queues.handlers import registry
from queues.sqs import DataPlane
from queuesite.errors import InvalidInput, ServerError
from queuesite.logs import get_logger

log = get_logger(__name__)

#: Seconds that the last deletes get at the end of a run, where SQS does not answer at once.
SETTLE_SECONDS = 10.0
#: Seconds that a run which makes room for another queue goes on with what it has buffered already.
YIELD_SECONDS = 5.0
#: Ends at which the buffer is handled first: they come often, and without a flush.
_UNHURRIED = frozenset({EndReason.YIELDED, EndReason.RECYCLED})
#: Seconds between looks whether the buffer of a run that ends has been handled.
_LOOK_SECONDS = 0.05
#: Seconds that handlers in flight get at the end before the worker is told that nothing else is left of the run.
RELEASE_SECONDS = 0.2


@dataclass(frozen=True)
class RunReport:
    """What a run did, told once, at its end."""

    reason: EndReason
    processed: int = 0
    failed: int = 0
    last_error: str | None = None
    #: When the queue was seen empty (monotonic clock, which all processes of a machine share); None where it was not.
    empty_at: float | None = None
    #: Those of the failed attempts that ran past their time limit.
    timed_out: int = 0
    #: Until when the queue is to be treated with caution (monotonic clock); None: no message gave a reason.
    troubled_until: float | None = None
    #: When its first handler began and its last one ended (monotonic clock).
    first_start: float | None = None
    last_end: float | None = None
    #: A handler of it still runs, or a thread of it has died: the process must serve no other run.
    tainted: bool = False


class Run:
    """Processes one queue. `execute` blocks until the end; the other methods may be called from any thread."""

    def __init__(
        self, gateway: DataPlane, settings: QueueSettings, limits: RunLimits, loop: HandlerLoop | None = None
    ) -> None:
        """`loop` is for async handlers, and the process's own unless another is given.

        Raises `InvalidInput` where the handler is not registered, its options do not fit, or a number in the settings
        is none that a run can work with.
        """
        work = _work(settings)
        self._gateway = gateway
        self._settings = settings
        self._limits = limits
        self._lock = threading.Lock()
        #: Messages whose handlers do not end, and the delay after which they are to be retried.
        self._stuck: list[tuple[Held, int]] = []
        #: One of the run's threads has died.
        self._broken = False
        self._troubled_until: float | None = None
        self._end_reason: EndReason | None = None
        #: What the report says of the end, in place of the last error of a handler.
        self._because: str | None = None
        self._ending = threading.Event()
        self._began_at = time.monotonic()
        #: When the run was told to end (monotonic clock).
        self._ended_at = float("inf")
        self._empty_at: float | None = None
        self._buffer = Buffer(fifo=settings.fifo, let_go=self._let_go)
        self.recorder = Recorder()
        self.meter = Meter(lambda: gateway.requests)
        self._keeper = VisibilityKeeper(
            gateway, settings.queue_url, self._window, self._not_kept, Refusals(self._refused), on_death=self._break
        )
        self._acknowledger = Acknowledger(
            gateway,
            settings.queue_url,
            self._keeper,
            limits.linger,
            self._not_deleted,
            Refusals(self._refused),
            on_death=self._break,
        )
        self._time_limits = TimeLimits(self._overdue, self._break)
        self._comebacks = Comebacks(
            self._keeper, self._buffer, lambda held: self._acknowledger.delete(held, at_once=True)
        )
        self._executor = Executor(
            self._buffer,
            work,
            # The time limit first: what it has given up is no concern of the others.
            Pipeline(
                [self._time_limits, self.meter, self.recorder, Connections()], self._settle, self._buffer.finished
            ),
            loop or get_handler_loop(),
            self._break,
            settling_blocks=settings.fifo,
        )
        self._receiver = Receiver(
            gateway,
            settings.queue_url,
            self._buffer,
            limits.idle,
            ReceiverHooks(
                window=self._window,
                prefetch=self._prefetch,
                accept=self._accept,
                drained=self._drained,
                missing=lambda: self.end(EndReason.QUEUE_MISSING),
                on_death=self._break,
            ),
            fifo=settings.fifo,
            refusals=Refusals(self._refused),
        )
        self._be_cautious(settings)

    def execute(self, released: Callable[[RunReport], None] = lambda so_far: None) -> RunReport:
        """Process the queue until it is drained or the run is told to end.

        `released` is told when nothing is received any more and only handlers in flight are left, unless these end
        within `RELEASE_SECONDS`. They may take hours.
        """
        self._keeper.start()
        self._acknowledger.start()
        self._executor.resize(self._settings.concurrency)
        self._receiver.start()
        self._ending.wait()
        self._wind_down(released)
        return self._report()

    def _report(self) -> RunReport:
        reason = self._end_reason
        assert reason is not None
        work = self.meter.total
        return RunReport(
            reason,
            work.processed,
            work.failed,
            self._because or self.meter.last_error,
            self._empty_at,
            work.timed_out,
            self._troubled_until,
            self.meter.first_start,
            self.meter.last_end,
            tainted=bool(self._stuck) or self._broken,
        )

    def end(self, reason: EndReason, because: str | None = None) -> None:
        """Tell the run to end: nothing more is received, what is in a slot is finished. The first reason stands."""
        with self._lock:
            if self._end_reason is None:
                self._end_reason, self._because = reason, because
                self._ended_at = time.monotonic()
        self._ending.set()

    def has_worked(self, seconds: float) -> bool:
        """Whether it has been running for so long, and got at least one message through or back."""
        work = self.meter.total
        return bool(work.processed or work.failed) and time.monotonic() - self._began_at >= seconds

    def apply(self, settings: QueueSettings) -> None:
        """Follow changed settings without a restart. Ones that cannot work end the run, which says why."""
        try:
            work = _work(settings)
        except InvalidInput as error:
            self.end(EndReason.ERROR, str(error))
            return
        old, self._settings = self._settings, replace(settings, queue_url=self._settings.queue_url)
        self._executor.work = work
        self._keeper.wake()
        self._be_cautious(settings)
        if settings.concurrency != old.concurrency and not self._ending.is_set():
            self._executor.resize(settings.concurrency)
            log.info("concurrency_changed", queue=settings.name, before=old.concurrency, now=settings.concurrency)

    def live(self) -> dict[str, Any]:
        """The counts so far, under the names of a worker's document."""
        waiting, in_flight, _ = self._buffer.counts
        work = self.meter.total
        return {
            "processed": work.processed,
            "failed": work.failed,
            "timedOut": work.timed_out,
            "inFlight": in_flight,
            "buffered": waiting,
        }

    def _wind_down(self, released: Callable[[RunReport], None]) -> None:
        self._receiver.stop()
        self._clear_buffer()
        self._acknowledger.flush()
        self._receiver.join()
        self._clear_buffer()  # of what its last request brought
        self._give_back(self._buffer.empty_out())
        self._acknowledger.flush()
        if not self._buffer.wait_idle(time.monotonic() + RELEASE_SECONDS):
            released(self._report())
        self._wait_for_slots()
        for held, delay in self._stuck:
            # Kept hidden until now, when its handler has not much longer to live: nobody else has it at the same time.
            self._acknowledger.release(held, delay, at_once=True)
        self._acknowledger.close(time.monotonic() + SETTLE_SECONDS)
        self._time_limits.close()
        if not self._executor.close() and not self._stuck:
            self._break(RuntimeError("a task of an async handler did not end when it was cancelled"))
        self._keeper.stop()

    def _clear_buffer(self) -> None:
        """Give back what need not be handled here, and wait until the slots have taken the rest.

        Giving a message back costs it a receive, and one that has no further goes to the dead-letter queue without
        having been handled: it is handled here if a slot comes free within the grace. A queue that yields often would
        come to that with all its messages: at a yield all that is buffered, about a second of work, is handled.
        """
        while True:
            self._give_back(self._buffer.withdraw_all(self._is_spare))
            waiting, in_flight, idle = self._buffer.counts
            if not waiting or (self._stuck and not in_flight and not idle):
                return
            self._buffer.wait_idle(time.monotonic() + _LOOK_SECONDS)

    def _is_spare(self, held: Held) -> bool:
        """Whether a message may be given back now that the run ends."""
        settings = self._settings
        if settings.dlq_url is not None and held.message.receive_count >= settings.max_receive_count:
            return time.monotonic() >= self._ended_at + self._limits.grace
        return self._end_reason not in _UNHURRIED or time.monotonic() >= self._ended_at + YIELD_SECONDS

    def _wait_for_slots(self) -> None:
        """Wait for the handlers in flight. A worker that has its own limit kills a consumer that takes too long."""
        until = float("inf")
        while not self._buffer.wait_idle(min(until, time.monotonic() + 1.0)):
            if (self._stuck or self._broken) and until == float("inf"):
                until = time.monotonic() + self._limits.grace
            if time.monotonic() >= until:
                waiting, in_flight, _ = self._buffer.counts
                log.warning("handlers_given_up", count=in_flight + waiting, grace_seconds=self._limits.grace)
                return

    def _prefetch(self) -> int:
        settings = self._settings
        return prefetch(settings.concurrency, self.meter.mean_seconds, settings.max_receive_count)

    def _window(self, held_for: float = 0.0) -> int:
        settings = self._settings
        return window(settings.visibility_timeout, held_for, settings.max_receive_count)

    def _be_cautious(self, settings: QueueSettings) -> None:
        if settings.cautious:
            self._buffer.be_cautious(time.monotonic() + settings.cautious)

    def _accept(self, messages: list[Held]) -> None:
        """Hold received messages. Of those that come when the run is ending only what must not be given back."""
        new = self._comebacks.new(messages)
        if self._ending.is_set():
            spare = spared(new, self._is_spare, fifo=self._settings.fifo)
            self._give_back(spare)
            new = [held for held in new if held not in spare]
        self._keeper.keep(*new)
        self._buffer.put(new)

    def _give_back(self, messages: list[Held]) -> None:
        for held in messages:
            self._acknowledger.release(held, 0, at_once=True)

    def _not_kept(self, held: Held) -> None:
        """A message is lost, or has waited too long: if it waits it is not begun, nor are those behind it."""
        if held.lost and self._buffer.drop(held):
            return  # see `_let_go`
        if self._settings.fifo:
            self._give_back(self._buffer.withdraw(held.message.group))
        elif not held.lost and self._buffer.remove(held):
            self._give_back([held])

    def _let_go(self, lost: list[Held], behind: list[Held]) -> None:
        """The buffer has dropped what may be with another consumer, and withdrawn those behind it in its group."""
        for held in lost:
            self._keeper.forget(held)
            log.warning("message_not_begun", message_id=held.message.message_id, meaning="its visibility has run out")
        self._give_back(behind)

    def _not_deleted(self, held: Held) -> None:
        """A handled message could not be deleted: it comes back, and those behind it must not be before it."""
        self._comebacks.remember(held)
        if self._settings.fifo:
            self._give_back(self._buffer.withdraw(held.message.group))

    def _refused(self, error: ServerError) -> None:
        """SQS does not do what this run needs, and does not say that it will."""
        self.end(EndReason.ERROR, str(error))

    def _drained(self, empty_at: float) -> None:
        self._empty_at = empty_at
        self.end(EndReason.DRAINED)

    def _settle(self, held: Held, outcome: Outcome) -> None:
        """Act on what came of a message: the one place that does."""
        try:
            self._act(held, outcome)
        except BaseException as error:
            # Its visibility runs out, and it is handled again; those after it in its FIFO group must not go before it.
            self._keeper.forget(held)
            self.meter.failed(f"the outcome of a message could not be carried out: {describe(error)}")
            if self._settings.fifo:
                self._give_back(self._buffer.withdraw(held.message.group))
            raise

    def _overdue(self, turn: Turn) -> None:
        """A handler is past its time limit and does not end: neither can this process, which has to be replaced."""
        held = turn.held
        error = TimedOut(turn.work.timeout or 0.0)
        outcome = failed(error, held.message.receive_count)
        self.meter.handled(turn.started, time.monotonic())
        self.meter.failed(outcome.error, timed_out=True)
        log.error(
            "handler_stuck",
            queue=turn.work.queue,
            message_id=held.message.message_id,
            seconds=error.limit,
            meaning="the run ends, and its consumer is replaced",
        )
        self.recorder.stuck(error, held.message, turn.work.handler.path, stack_of(turn))
        with self._lock:
            self._stuck.append((held, outcome.delay))
        self.end(EndReason.TIMED_OUT)
        self._buffer.given_up(held)

    def _break(self, error: BaseException) -> None:
        """A thread of this run has died of an error that nobody foresaw: the run ends as one, whatever it was at."""
        with self._lock:
            if not self._broken:
                self._broken = True
                self._end_reason, self._because = EndReason.ERROR, f"a thread of the consumer died: {describe(error)}"
                self._ended_at = min(self._ended_at, time.monotonic())
        self._ending.set()

    def _act(self, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, GiveUp):
            outcome = self._reject(held, outcome)
        fifo = self._settings.fifo
        if isinstance(outcome, Done | GiveUp):
            self._delete(held, wait=fifo)
            # Counted only now: what cannot be given to the acknowledger is a failure, and nothing else.
            if isinstance(outcome, Done):
                self.meter.done()
            else:
                self.meter.failed(f"rejected: {outcome.reason}", rejected=True)
        else:
            self.meter.failed(outcome.error, timed_out=outcome.timed_out)
            if fifo:
                # Those behind it must not be received with it again and again.
                until = time.monotonic() + caution(outcome.delay)
                self._buffer.be_cautious(until)
                self._troubled_until = max(self._troubled_until or until, until)
            # The failed message first: while it is hidden SQS gives out none of its group.
            self._acknowledger.release(held, outcome.delay, at_once=fifo)
            if fifo:
                self._give_back(self._buffer.withdraw(held.message.group))
        waiting, in_flight, _ = self._buffer.counts
        if not waiting and in_flight <= 1:  # this one is still counted
            self._acknowledger.flush()

    def _delete(self, held: Held, *, wait: bool) -> None:
        """Delete a settled message. On a FIFO queue the next of its group must wait until it is really gone."""
        if not wait:
            self._acknowledger.delete(held)
            return
        gone = threading.Event()
        self._acknowledger.delete(held, at_once=True, settled=gone.set)
        while not gone.wait(1.0) and not self._buffer.closed:
            pass

    def _reject(self, held: Held, outcome: GiveUp) -> Outcome:
        """Send a rejected message to the dead-letter queue. Only when SQS has it there is it deleted here."""
        delay = retry_delay(held.message.receive_count)
        dlq_url = self._settings.dlq_url
        if dlq_url is None:
            return TryAgain(delay, f"rejected ({outcome.reason}), but the queue has no dead-letter queue: kept")
        try:
            send_to_dead_letters(self._gateway, dlq_url, held.message, outcome.reason)
        except ServerError as error:
            return TryAgain(delay, f"rejected ({outcome.reason}), but the dead-letter queue did not take it: {error}")
        return outcome


def _work(settings: QueueSettings) -> Work:
    settings.check()
    handler = registry.get(settings.handler)
    timeout = settings.timeout if settings.timeout is not None else handler.timeout
    return Work(settings.name, handler, handler.parse_options(settings.handler_options), timeout)
