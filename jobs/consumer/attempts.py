"""Attempts that are worth recording, for the worker to write: all but the successes that are not sampled.

Nothing here waits. What comes faster than reports are made is dropped, and counted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, SecretBytes, SecretStr

from jobs.attempts import ERROR_CHARACTERS, KIND_CHARACTERS, AttemptOutcome, AttemptReport, trace_id_of
from jobs.consumer.current_settings import CurrentSettings
from jobs.consumer.outcome import Done, GiveUp, Outcome, TimedOut, TryAgain, Unreachable, makes_dead_letter
from jobs.consumer.turn import Stage, Turn
from jobs.failures import storable, type_name
from queuesite.foundation.log_tails import Tail, tails
from queuesite.foundation.masking import MASK, mask_addresses

#: Most attempts, and characters of their texts, that wait for the next report, which is due within a second or two.
MOST_WAITING = 500
MOST_CHARACTERS = 1_000_000
#: A shorter secret of a handler's options is not looked for in texts: it would be found everywhere.
_SHORTEST_SECRET = 6


class Attempts(Stage):
    """The attempts of one run since the last report. Safe for all slots."""

    def __init__(self, current: CurrentSettings, one_in: int, chance: Callable[[], float] = random.random) -> None:
        """`one_in` is the site's sampling rate (one in this many successes; 0: none), for a queue without its own."""
        self._current = current
        self._one_in = one_in
        self._chance = chance
        self._lock = threading.Lock()
        self._waiting: list[AttemptReport] = []
        self._characters = 0
        #: Attempts that were dropped since the last report.
        self._dropped = 0
        #: The options whose secrets are known, and these.
        self._options: BaseModel | None = None
        self._secrets: frozenset[str] = frozenset()

    def before(self, turn: Turn) -> None:
        """Keep what is logged from now on."""
        tails.begin(turn.held.message.message_id)

    def after(self, turn: Turn) -> None:
        """Record the attempt, unless it succeeded and is not sampled."""
        tail = self._ended(turn)
        outcome = turn.outcome
        if type(outcome) is Done and not self._is_sampled():
            return
        self._keep(turn, outcome, turn.error, tail, turn.ended)

    def gave_up(self, turn: Turn) -> None:
        """Record an attempt that is past its time limit and does not end."""
        error = TimedOut(turn.spec.timeout or 0.0)
        self._keep(turn, TryAgain(0, str(error), timed_out=True), error, self._ended(turn), time.monotonic())

    def take(self) -> tuple[tuple[AttemptReport, ...], int]:
        """What is to be recorded since the last call, and how many attempts were dropped."""
        if not self._waiting:
            return (), 0
        with self._lock:
            taken, dropped = tuple(self._waiting), self._dropped
            self._waiting, self._characters, self._dropped = [], 0, 0
        return taken, dropped

    def _is_sampled(self) -> bool:
        chosen = self._current.queue.sample_one_in
        one_in = self._one_in if chosen is None else chosen
        return one_in > 0 and (one_in == 1 or self._chance() * one_in < 1.0)

    def _ended(self, turn: Turn) -> Tail | None:
        tail = tails.end(turn.held.message.message_id)
        if tail is not None:
            for other in turn.others:  # a batch's handler logs for all of them
                tails.share(other.held.message.message_id, tail)
        return tail

    def _keep(self, turn: Turn, outcome: Outcome, error: BaseException | None, tail: Tail | None, ended: float) -> None:
        if len(self._waiting) >= MOST_WAITING or self._characters >= MOST_CHARACTERS:
            self._dropped += 1  # of no consequence if two threads count as one
            return
        received = turn.held.message
        kind = _outcome_of(outcome, error)
        made = AttemptReport(
            message_id=received.message_id,
            receive_count=received.receive_count,
            outcome=kind,
            started=turn.started,
            took=max(0.0, ended - turn.started) / turn.share,
            waited=turn.waited,
            error_type=_name_of(turn, outcome, error),
            error=self._shown(_text_of(outcome), turn)[:ERROR_CHARACTERS],
            fingerprint=turn.fingerprint,
            dead_letter=makes_dead_letter(outcome, received.receive_count, self._current.queue),
            trace_id=(tail.trace_id if tail is not None else None) or trace_id_of(received.attributes, received.system),
            log="" if tail is None else self._shown(tail.text(), turn),
        )
        with self._lock:
            self._waiting.append(made)
            self._characters += made.size

    def _shown(self, text: str, turn: Turn) -> str:
        """`text` without the secrets of the handler's options and the passwords of addresses."""
        options = turn.spec.options
        if options is not self._options:
            self._options, self._secrets = options, frozenset() if options is None else _secrets_of(options)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return mask_addresses(text) if "://" in text else text


def _outcome_of(outcome: Outcome, error: BaseException | None) -> AttemptOutcome:
    match outcome:
        case Done():
            return AttemptOutcome.DONE
        case GiveUp():
            return AttemptOutcome.REJECTED
        case Unreachable():
            return AttemptOutcome.UNAVAILABLE
        case TryAgain(timed_out=True):
            return AttemptOutcome.TIMED_OUT
        case TryAgain(asked=True):
            return AttemptOutcome.RETRIED
    return AttemptOutcome.FAILED


def _text_of(outcome: Outcome) -> str:
    match outcome:
        case Done():
            return ""
        case GiveUp():
            return outcome.reason
    return outcome.error


def _name_of(turn: Turn, outcome: Outcome, error: BaseException | None) -> str:
    if isinstance(outcome, Done):
        return ""
    if error is not None:
        return storable(type_name(error))[:KIND_CHARACTERS]
    answer = turn.result if isinstance(turn.result, type) else type(turn.result)  # it was returned
    return storable(f"{answer.__module__}.{answer.__qualname__}")[:KIND_CHARACTERS]


def _secrets_of(value: object) -> frozenset[str]:
    """The secrets in a handler's options, however deep."""
    if isinstance(value, SecretStr | SecretBytes):
        found = value.get_secret_value()
        text = found if isinstance(found, str) else found.decode("utf-8", "replace")
        return frozenset({text}) if len(text) >= _SHORTEST_SECRET else frozenset()
    if isinstance(value, BaseModel):
        return frozenset().union(*(_secrets_of(one) for _, one in value))
    if isinstance(value, dict):
        return frozenset().union(*map(_secrets_of, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return frozenset().union(*map(_secrets_of, value))
    return frozenset()
