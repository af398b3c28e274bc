"""Acting on the outcome of each handled message, which no other module does."""

from __future__ import annotations

import threading
import time

from jobs.consumer.backoff import retry_delay
from jobs.consumer.caution import caution
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.dead_letters import send_to_dead_letters
from jobs.consumer.held import Held
from jobs.consumer.holdings import Holdings
from jobs.consumer.meter import Meter
from jobs.consumer.outcome import Done, GiveUp, Outcome, TryAgain, Unreachable, describe
from jobs.consumer.tripping import Tripping
from queues.sqs import DataPlane
from queuesite.foundation.errors import QueueMissing, ServerError


class Settler:
    """Settles messages by their outcomes; called by all slots."""

    def __init__(
        self, gateway: DataPlane, current: CurrentSettings, holdings: Holdings, meter: Meter, tripping: Tripping
    ) -> None:
        self._gateway = gateway
        self._current = current
        self._holdings = holdings
        self._buffer = holdings.buffer
        self._acknowledger = holdings.acknowledger
        self._meter = meter
        self._tripping = tripping
        #: Until when to handle the queue with caution (monotonic clock); None if no message gave a reason for it.
        self.troubled_until: float | None = None

    def settle(self, held: Held, outcome: Outcome) -> None:
        """Delete the message, release it, or send it to the dead-letter queue."""
        try:
            self._act(held, outcome)
        except BaseException as error:
            # Its visibility runs out, and it is handled again; those after it in its FIFO group must not go before it.
            self._holdings.keeper.forget(held)
            self._meter.failed(f"the outcome of a message could not be carried out: {describe(error)}")
            self._holdings.give_back_group(held)
            raise

    def _act(self, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, GiveUp):
            outcome = self._reject(held, outcome)
        elif not isinstance(outcome, Done):
            outcome = self._tripping.judged(outcome, self._current.spec.handler.breaker)
        fifo = self._current.fifo
        if isinstance(outcome, Done | GiveUp):
            self._delete(held, wait=fifo)
            # Counted only now: what cannot be given to the acknowledger counts as a failure only.
            if isinstance(outcome, Done):
                self._meter.done()
                if self._tripping.probing:
                    self._tripping.handled()
            else:
                self._meter.failed(f"rejected: {outcome.reason}", rejected=True)
        elif isinstance(outcome, Unreachable):
            self._meter.failed(outcome.error, timed_out=outcome.timed_out)
            self._holdings.spare(held, self._tripping.delay)
            self._holdings.give_back_group(held)
        else:
            if outcome.asked:
                self._meter.retried(outcome.error)
            else:
                self._meter.failed(outcome.error, timed_out=outcome.timed_out)
            if fifo:
                # Those behind it must not be received with it again and again.
                until = time.monotonic() + caution(outcome.delay)
                self._buffer.be_cautious(until)
                self.troubled_until = max(self.troubled_until or until, until)
            # The failed message first: while it is hidden SQS gives out none of its group.
            self._acknowledger.release(held, outcome.delay, at_once=fifo)
            self._holdings.give_back_group(held)
        waiting, in_flight, _ = self._buffer.counts
        if not waiting and in_flight <= 1:  # this one is still counted
            self._acknowledger.flush()

    def _delete(self, held: Held, *, wait: bool) -> None:
        """Delete a message. On a FIFO queue the next of its group must wait until it is really gone."""
        if not wait:
            self._acknowledger.delete(held)
            return
        gone = threading.Event()
        self._acknowledger.delete(held, at_once=True, settled=gone.set)
        while not gone.wait(1.0) and not self._buffer.closed:
            pass

    def _reject(self, held: Held, outcome: GiveUp) -> Outcome:
        """Send a rejected message to the dead-letter queue. It is deleted here only after SQS has confirmed that."""
        delay = retry_delay(held.message.receive_count)
        dlq_url = self._current.queue.dlq_url
        if dlq_url is None:
            return TryAgain(delay, f"rejected ({outcome.reason}), but the queue has no dead-letter queue: kept")
        try:
            send_to_dead_letters(self._gateway, dlq_url, held.message, outcome.reason)
        except ServerError as error:
            if isinstance(error, QueueMissing) and self._holdings.owner is not None:
                self._holdings.owner.doubt()  # the owner may have given it another
            return TryAgain(delay, f"rejected ({outcome.reason}), but the dead-letter queue did not take it: {error}")
        return outcome
