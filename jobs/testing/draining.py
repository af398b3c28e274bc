"""`drain`: a real run over a queue of the sandbox, in the thread of the test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from jobs.consumer.batch_turns import BatchTurns
from jobs.consumer.executor import Executor
from jobs.consumer.foreground import handle
from jobs.consumer.gathering import GatheringBuffer
from jobs.consumer.held import Held
from jobs.consumer.run import Run
from jobs.consumer.run_end import RunEnd
from jobs.consumer.settings import QueueSettings, RunLimits
from jobs.consumer.turn import HandlerSpec, Pipeline
from jobs.models import EndReason
from jobs.testing.sandbox import active
from queues.handlers.batching import Batch
from queues.sqs import ReceivedMessage

#: Ends as soon as nothing is visible and none is being handled.
_LIMITS = RunLimits(idle=0, linger=0.0, grace=0.0)
#: Seconds between looks whether the run is to end.
_LOOK = 0.001


@dataclass
class Drained:
    """What came of a drain. An attempt is counted as processed, failed or retried; a message may have several."""

    processed: int = 0
    failed: int = 0
    #: Attempts for which the handler asked for a retry (`Retry`).
    retried: int = 0
    #: What handlers raised, in order.
    errors: list[BaseException] = field(default_factory=list)
    #: What is in the dead-letter queue now.
    dead_letters: list[ReceivedMessage] = field(default_factory=list)
    #: The time that passed for the queue, in seconds: delays and retries are not waited for.
    seconds: float = 0.0
    #: Why the queue tripped, which ended the drain: what its handler needs is down. None if it did not.
    tripped: str | None = None


def drain(queue: str, *, waiting: bool = True, limit: int = 1_000) -> Drained:
    """Handle what is in the queue, one message after another in this thread, with a consumer's real run.

    The queue's clock is moved on for messages that are delayed or come back, until the queue is empty or trips; with
    `waiting=False` only what is visible now is handled. Messages that use up their receives, or are rejected, end in
    the dead-letter queue. Raises `AssertionError` after `limit` attempts: a handler may send to its own queue for ever.
    """
    sandbox = active()
    definition = sandbox.queue(queue)
    settings = QueueSettings.of(definition)
    url, began = definition.queue_url, sandbox.clock()
    drained = Drained()
    while True:
        run = Run(sandbox.sqs, settings, _LIMITS, executor=InlineExecutor)
        assert isinstance(run.executor, InlineExecutor)
        run.executor.left = limit - drained.processed - drained.failed - drained.retried
        report = run.execute()
        drained.processed += report.processed
        drained.failed += report.failed
        drained.retried += report.retried
        drained.errors += run.executor.errors
        if run.executor.left <= 0:
            raise AssertionError(f"drain({queue!r}) has not ended after {limit} attempts; pass a higher limit=")
        if report.reason is EndReason.ERROR:
            raise AssertionError(f"the run of {queue!r} ended with an error: {report.last_error}")
        if report.reason is EndReason.TRIPPED:
            drained.tripped = report.last_error
            break
        moment = sandbox.sqs.next_visible(url) if waiting else None
        if moment is None and not (waiting and sandbox.sqs.depth(url).visible):
            break
        if moment is not None:
            sandbox.clock.advance(max(0.0, moment - sandbox.clock()))
    drained.dead_letters = sandbox.dead_letters(queue)
    drained.seconds = sandbox.clock() - began
    return drained


class InlineExecutor(Executor):
    """One slot, which is the thread that executes the run."""

    def __init__(
        self, buffer: GatheringBuffer, spec: HandlerSpec, pipeline: Pipeline, *args: Any, **options: Any
    ) -> None:
        super().__init__(buffer, spec, pipeline, *args, **options)
        self._pipeline = pipeline
        self._changed = threading.Event()
        #: Attempts that may still be made.
        self.left = 0
        self.errors: list[BaseException] = []

    def resize(self, concurrency: int) -> None:
        self._buffer.serve(1, self._changed.set)

    def work(self, ending: RunEnd) -> None:
        while self.left > 0:
            held = self._buffer.take_at_once()
            if held is None:
                if ending.asked:
                    return
                self._changed.wait(_LOOK)
                self._changed.clear()
                continue
            if self.spec.handler.batch is not None:
                self._handle_batch([held], self.spec.handler.batch)
                continue
            self.left -= 1
            turn = self._pipeline.begin(held, self.spec)
            handle(turn)
            if turn.error is not None:
                self.errors.append(turn.error)
            if self._pipeline.end(turn):
                self._pipeline.settle(turn)
        ending.ask(EndReason.SHUTDOWN)

    def _handle_batch(self, messages: list[Held], wanted: Batch) -> None:
        """Handle what waits with the first message, without waiting for others."""
        self._buffer.complete(messages, wanted.most)
        self.left -= len(messages)
        batch = BatchTurns(self._pipeline, messages, self.spec)
        if batch.lead is not None:
            handle(batch.lead)
        turns = batch.end()
        self.errors += [turn.error for turn in turns if turn.error is not None]
        self._pipeline.settle_batch(turns)
