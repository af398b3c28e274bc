"""How the whole system is, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from queues.health.rules import PROBLEMS, Health, Tone
from queuesite.foundation.quantities import plural


@dataclass(frozen=True)
class Situation:
    """A sentence without its full stop, and how bad it is; without a tone all is well."""

    sentence: str
    tone: Tone | None


def situation(queues: int, health: Mapping[Health, int], *, capacity: int, used: int) -> Situation:
    """The problems by the number of queues that have them, the worst first, and whether workers have places left."""
    counts = [(one, health.get(one, 0)) for one in PROBLEMS if health.get(one, 0)]
    words = [f"{count:,} {one.label}" for one, count in counts]
    if words:
        first = counts[0][1]
        words[0] = f"{plural(first, 'queue')} {counts[0][0].label}"
    tones = [PROBLEMS[one].tone for one, _ in counts]
    if capacity and used >= capacity:
        words.append(f"all {capacity:,} places used" if capacity > 1 else "the only place used")
        tones.append(Tone.WARNING)
    if words:
        return Situation(", ".join(words), Tone.DANGER if Tone.DANGER in tones else Tone.WARNING)
    if not queues:
        return Situation("No queue exists yet", None)
    well = "The only queue is healthy" if queues == 1 else f"All {queues:,} queues are healthy"
    return Situation(f"{well}, {used:,} of {plural(capacity, 'place')} used", None)
