"""From which value on something counts as wrong: the configuration's HEALTH_ settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from queuesite.foundation.config import get_config


@dataclass(frozen=True)
class Limits:
    """The thresholds of the rules."""

    #: The attempts of the last minutes are counted in slots of a third of this.
    window: timedelta = timedelta(minutes=15)
    failing_share: float = 0.1
    crash_runs: int = 2
    stuck: timedelta = timedelta(minutes=10)
    starved: timedelta = timedelta(seconds=60)
    dead_letters: timedelta = timedelta(minutes=60)
    #: What a queue without limits of its own may hold: the age of a message in seconds, messages, dead letters.
    max_message_age: int | None = None
    max_backlog: int | None = None
    max_dead_letters: int | None = None

    @property
    def slot(self) -> timedelta:
        """The length of a slot of attempts."""
        return self.window / 3


def configured() -> Limits:
    """Those of this process's configuration."""
    config = get_config()
    return Limits(
        window=timedelta(minutes=config.health_window_minutes),
        failing_share=config.health_failing_percent / 100,
        crash_runs=config.health_crash_runs,
        stuck=timedelta(minutes=config.health_stuck_minutes),
        starved=timedelta(seconds=config.health_starved_seconds),
        dead_letters=timedelta(minutes=config.health_dead_letter_minutes),
        max_message_age=config.health_max_message_age_seconds,
        max_backlog=config.health_max_backlog,
        max_dead_letters=config.health_max_dead_letters,
    )
