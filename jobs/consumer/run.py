"""A run: one queue, processed from the assignment to its end. Puts the pipeline's parts together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from jobs.consumer.attempts import Attempts
from jobs.consumer.connections import Connections
from jobs.consumer.counted import Counted
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.executor import Executor
from jobs.consumer.handler_loop import HandlerLoop, get_handler_loop
from jobs.consumer.held import Batch
from jobs.consumer.holdings import Holdings
from jobs.consumer.in_hand import Board, NotesInHand
from jobs.consumer.meter import Meter
from jobs.consumer.owner import OwnerWatch, ReadHeld
from jobs.consumer.receiver import Receiver
from jobs.consumer.recorder import Recorder
from jobs.consumer.refused import Refusals
from jobs.consumer.report import RunReport
from jobs.consumer.run_end import RunEnd
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.consumer.settler import Settler
from jobs.consumer.stuck import StuckHandlers
from jobs.consumer.task_outcomes import TaskOutcomes
from jobs.consumer.time_limits import TimeLimits
from jobs.consumer.tripping import Tripping
from jobs.consumer.turn import Pipeline, Turn
from jobs.models import EndReason
from queues.handlers import middleware
from queues.sqs import DataPlane
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Seconds that the last deletes get at the end of a run if SQS does not answer at once.
SETTLE_SECONDS = 10.0
#: Seconds that handlers in flight get at the end before the worker hears that nothing else is left of the run.
FINISHING_SECONDS = 0.2


class Run:
    """Processes one queue. `execute` blocks until the end; the other methods may be called from any thread."""

    def __init__(
        self,
        gateway: DataPlane,
        settings: QueueSettings,
        limits: RunLimits,
        loop: HandlerLoop | None = None,
        read_held: ReadHeld | None = None,
        executor: type[Executor] = Executor,
        board: Board | None = None,
    ) -> None:
        """`loop` is for async handlers; by default it is the process's own. `read_held`: of a queue that others own.

        `board` is where to note what is in hand, if somebody reads it.

        Raises `InvalidInput` if the handler is not registered, its options do not fit, or a run cannot work with a
        number in the settings.
        """
        self._limits = limits
        self._began_at = time.monotonic()
        gateway = counted = Counted(gateway)
        self.meter = Meter(lambda: counted.requests, lambda: counted.purposes)
        self.recorder = Recorder()
        self._current = CurrentSettings(settings, self.meter)
        self.ending = RunEnd()
        self._owner = None if read_held is None else OwnerWatch(read_held, self._current, self.ending.thread_died)
        self.holdings = Holdings(gateway, self._current, limits, self.ending, self._owner)
        self._buffer = self.holdings.buffer
        self._tripping = Tripping(self.holdings, settings.trips, settings.counted)
        self._settler = Settler(gateway, self._current, self.holdings, self.meter, self._tripping)
        self._stuck = StuckHandlers(self.holdings, self.meter, self.recorder, self.ending, self._tripping)
        self._tasks = TaskOutcomes(self._current)
        self.attempts = Attempts(self._current, limits.sample_one_in)
        self._time_limits = TimeLimits(self._give_up, self.ending.thread_died)
        # The time limit first: what it has given up does not concern the others. The recorder before the attempts,
        # which name the kind of failure.
        stages = [self._time_limits, self.meter, self.recorder, self.attempts, self._tasks, Connections()]
        self._in_hand = None if board is None else NotesInHand(board)
        if self._in_hand is not None:
            stages.append(self._in_hand)
        self.executor = executor(
            self._buffer,
            self._current.spec,
            Pipeline(stages, self._settler.settle, self._buffer.finished),
            loop or get_handler_loop(),
            self.ending.thread_died,
            settling_blocks=settings.fifo,
        )
        self._receiver = Receiver(
            gateway,
            settings.queue_url,
            self._current,
            self.holdings,
            self.ending,
            limits.idle,
            Refusals(self.ending.refused),
            fifo=settings.fifo,
            system=middleware.system_attributes(),
        )
        self._be_cautious(settings)

    def execute(
        self, finishing: Callable[[RunReport], None] = lambda so_far: None, first: Sequence[Batch] = ()
    ) -> RunReport:
        """Process the queue until it is drained or the run is asked to end.

        `first` is what a listener has received for it: it is handled before anything is received. `finishing` is called
        when nothing is received any more and only handlers in flight are left, unless these end within
        `FINISHING_SECONDS`. They may take hours.
        """
        self.holdings.start()
        for batch in first:
            self.holdings.accept(batch.held())
        self.executor.resize(self._current.queue.concurrency)
        self._receiver.start()
        self.executor.work(self.ending)
        self._wind_down(finishing)
        return self._report()

    def _give_up(self, turn: Turn) -> None:
        self._stuck.give_up(turn)
        self.attempts.gave_up(turn)
        self._tasks.gave_up(turn)
        if self._in_hand is not None:
            self._in_hand.gave_up(turn)

    def _report(self) -> RunReport:
        end, work = self.ending, self.meter.total
        assert end.reason is not None
        return RunReport(
            end.reason,
            work.processed,
            work.failed,
            end.because or self.meter.last_error,
            end.empty_at,
            work.timed_out,
            self._settler.troubled_until,
            self.meter.first_start,
            self.meter.last_end,
            tainted=bool(self._stuck) or end.broken,
            pause=end.pause,
            counted=self._tripping.counted if end.reason is EndReason.TIMED_OUT else (),
            retried=work.retried,
        )

    def end(self, reason: EndReason, because: str | None = None) -> None:
        """Have the run end: nothing more is received, what is in a slot is finished. The first reason stands."""
        self.ending.ask(reason, because)

    def give(self, batch: Batch) -> bool:
        """Hand over what a listener has received; False if the run is to end, and the messages are not its own."""
        return self.ending.unless_asked(lambda: self.holdings.accept(batch.held()))

    def has_worked(self, seconds: float) -> bool:
        """Whether it has been running for this long, and has handled at least one message, successfully or not."""
        work = self.meter.total
        return bool(work.processed or work.failed or work.retried) and time.monotonic() - self._began_at >= seconds

    def apply(self, settings: QueueSettings) -> None:
        """Follow changed settings without a restart. Settings that cannot work end the run, with that as its error."""
        before = self._current.queue.concurrency
        try:
            self._current.replace(settings)
        except InvalidInput as error:
            self.end(EndReason.ERROR, str(error))
            return
        self.executor.spec = self._current.spec
        self.holdings.keeper.wake()
        self._be_cautious(settings)
        if settings.concurrency != before and not self.ending.asked:
            self.executor.resize(settings.concurrency)
            log.info("concurrency_changed", queue=settings.name, before=before, now=settings.concurrency)

    def followed(self) -> dict[str, Any] | None:
        """The attributes of a queue that others own, if they were read since the last call; otherwise None."""
        return None if self._owner is None else self._owner.take()

    def live(self) -> dict[str, Any]:
        """The counts so far, under the names of a worker's document."""
        waiting, in_flight, _ = self._buffer.counts
        work = self.meter.total
        return {
            "processed": work.processed,
            "failed": work.failed,
            "timedOut": work.timed_out,
            "retried": work.retried,
            "inFlight": in_flight,
            "buffered": waiting,
        }

    def ages(self) -> dict[str, float]:
        """How old what it holds is, under the names of a worker's document; what is not known is left out.

        `handlingFor`: seconds since the oldest message in a slot was received; `oldestSentAt`: when the oldest message
        was sent, by SQS's clock, in seconds since 1970.
        """
        received, sent = self.holdings.keeper.oldest()
        _, in_flight, _ = self._buffer.counts
        found = {} if sent is None else {"oldestSentAt": sent}
        # What is handled, and only waits for its delete, is in no slot.
        return found if received is None or not in_flight else {**found, "handlingFor": time.monotonic() - received}

    def _be_cautious(self, settings: QueueSettings) -> None:
        if settings.cautious:
            self._buffer.be_cautious(time.monotonic() + settings.cautious)

    # --- the end ---

    def _wind_down(self, finishing: Callable[[RunReport], None]) -> None:
        acknowledger = self.holdings.acknowledger
        self._receiver.stop()
        self._clear_buffer()
        acknowledger.flush()
        self._receiver.join()
        self._clear_buffer()  # of what its last request brought
        self.holdings.give_back(self._buffer.empty_out())
        acknowledger.flush()
        if not self._buffer.wait_idle(time.monotonic() + FINISHING_SECONDS):
            finishing(self._report())
        self._wait_for_slots()
        self._stuck.release()
        acknowledger.close(time.monotonic() + SETTLE_SECONDS)
        self._time_limits.close()
        if not self.executor.close() and not self._stuck:
            self.ending.thread_died(RuntimeError("a task of an async handler did not end when it was cancelled"))
        self.holdings.keeper.stop()

    def _clear_buffer(self) -> None:
        while not self.holdings.clear_buffer(abandoned=bool(self._stuck)):
            pass

    def _wait_for_slots(self) -> None:
        """Wait for the handlers in flight. A worker that has its own limit kills a consumer that takes too long."""
        until = float("inf")
        while not self._buffer.wait_idle(min(until, time.monotonic() + 1.0)):
            if (self._stuck or self.ending.broken) and until == float("inf"):
                until = time.monotonic() + self._limits.grace
            if time.monotonic() >= until:
                waiting, in_flight, _ = self._buffer.counts
                log.warning("handlers_given_up", count=in_flight + waiting, grace_seconds=self._limits.grace)
                return
