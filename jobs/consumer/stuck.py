"""Handlers that are past their time limit and do not end."""

from __future__ import annotations

import threading
import time

from jobs.consumer.held import Held
from jobs.consumer.holdings import Holdings
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import TimedOut, Unreachable, failed
from jobs.consumer.recorder import Recorder
from jobs.consumer.run_end import RunEnd
from jobs.consumer.time_limits import stack_of
from jobs.consumer.tripping import Tripping
from jobs.consumer.turn import Turn
from jobs.models import EndReason
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


class StuckHandlers:
    """Counts such handlers as failed, and ends the run: the process cannot end them, so it has to be replaced."""

    def __init__(self, holdings: Holdings, meter: Meter, recorder: Recorder, end: RunEnd, tripping: Tripping) -> None:
        self._tripping = tripping
        self._holdings = holdings
        self._meter = meter
        self._recorder = recorder
        self._end = end
        self._lock = threading.Lock()
        #: Their messages, and the delays after which these are to be tried again.
        self._messages: list[tuple[Held, int]] = []

    def __bool__(self) -> bool:
        return bool(self._messages)

    def give_up(self, turn: Turn) -> None:
        """Settle a turn as timed out, without its handler."""
        held, spec = turn.held, turn.spec
        error = TimedOut(spec.timeout or 0.0)
        outcome = failed(error, held.message.receive_count)
        now = time.monotonic()
        self._meter.handled(turn, now)
        self._meter.failed(outcome.error, timed_out=True)
        log.error(
            "handler_stuck",
            queue=spec.queue,
            message_id=held.message.message_id,
            seconds=error.limit,
            meaning="the run ends, and its consumer is replaced",
        )
        turn.fingerprint = self._recorder.stuck(error, held.message, spec.handler.path, stack_of(turn))
        judged = self._tripping.judged(outcome, spec.handler.breaker)
        with self._lock:
            self._messages.append((held, self._tripping.delay if isinstance(judged, Unreachable) else outcome.delay))
        self._end.ask(EndReason.TIMED_OUT)  # unless a breaker has opened
        self._holdings.buffer.given_up(held)

    def release(self) -> None:
        """Make their messages visible again after their delays, at the run's end.

        They are kept hidden until now, when the handlers have not much longer to live: nobody else handles them at the
        same time.
        """
        for held, delay in self._messages:
            if self._end.reason is EndReason.TRIPPED:
                self._holdings.spare(held, delay)
            else:
                self._holdings.acknowledger.release(held, delay, at_once=True)
