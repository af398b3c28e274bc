"""The turns of messages that a handler gets in one call.

Each message keeps its own turn and outcome; the time limit is that of the call, and counts from the same moment for
all. The first that can be begun leads: a slot calls the handler with its message, which is the batch, and what comes of
the call is divided among all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from jobs.consumer.held import Held
from jobs.consumer.outcome import Unfinished, close
from jobs.consumer.turn import HandlerSpec, Pipeline, Turn
from queues.handlers.batching import Failure, MessageBatch, failures


class BatchTurns:
    """The turns of a batch. If `lead` is None, no message of it can be handled."""

    def __init__(self, pipeline: Pipeline, batch: Sequence[Held], spec: HandlerSpec) -> None:
        self._pipeline = pipeline
        now = time.monotonic()
        self.turns = [pipeline.begin(held, spec, now) for held in batch]
        self._begun = [turn for turn in self.turns if turn.message is not None]
        self.lead: Turn | None = self._begun[0] if self._begun else None
        for turn in self.turns:
            turn.share = len(self.turns)
        if self.lead is not None:
            self.lead.others = tuple(self._begun[1:])
            messages = MessageBatch(turn.message for turn in self._begun if turn.message is not None)
            self.lead.message = messages  # type: ignore[assignment]  # what a handler of batches takes

    def end(self) -> list[Turn]:
        """Judge the messages by what the call returned or raised; those that have not been given up meanwhile."""
        if self.lead is not None:
            self._divide(self.lead)
        return [turn for turn in self.turns if self._pipeline.end(turn)]

    def _divide(self, lead: Turn) -> None:
        error, result = lead.error, lead.result
        lead.result = None
        failed: Mapping[str, Failure] = {}
        if error is None:
            try:
                error = Unfinished.of(result)
                if error is not None:
                    close(result)
                else:
                    failed = failures(result, {turn.held.message.message_id for turn in self._begun})
            except BaseException as odd:  # an answer of a class of the handler's own may do anything
                error = odd
        for turn in self._begun:
            turn.error = error
            failure = failed.get(turn.held.message.message_id)
            if isinstance(failure, BaseException):
                turn.error = failure
            elif failure is not None:
                turn.result = failure
