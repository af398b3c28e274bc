"""A benchmark's figures as rows: what was measured, against which goal, and whether it was met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.benchmark.fleet import SLICE, Footprint, Hot, Latencies
from jobs.benchmark.floor import Usage
from jobs.benchmark.scale import Scale
from queuesite.foundation.errors import InvalidInput

MIB = 1_048_576

#: Whether a goal was met, in words; empty if there is none.
MET = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True)
class Figure:
    """One figure. `met` is None if it has no goal."""

    what: str
    value: float
    shown: str
    goal: str = ""
    met: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"what": self.what, "value": self.value, "shown": self.shown, "goal": self.goal, "met": self.met}


def at_most(what: str, value: float, limit: float, show: Callable[[float], str]) -> Figure:
    """A figure with the goal of a highest value; `show` is how both are shown."""
    return Figure(what, value, show(value), f"at most {show(limit)}", value <= limit)


def _at_least(what: str, value: float, limit: float, show: Callable[[float], str]) -> Figure:
    return Figure(what, value, show(value), f"at least {show(limit)}", value >= limit)


def _times(value: float) -> str:
    return f"{value:.2f} x"


def ms(value: float) -> str:
    """Seconds as milliseconds."""
    return f"{value * 1000:.1f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"


def _s(value: float) -> str:
    return f"{value:.1f} s"


def mb(value: float) -> str:
    """Bytes as MB."""
    return f"{value / MIB:.0f} MB"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def decimals(value: float) -> str:
    """With two decimals."""
    return f"{value:.2f}"


def consumption(name: str, floor: Usage, ours: Usage, most_cpu: float) -> list[Figure]:
    """A consumer with no-op handlers against the floor, of whose CPU it may take `most_cpu`."""
    cpu, floor_cpu = ours.cpu_seconds / ours.messages, floor.cpu_seconds / floor.messages
    rate, floor_rate = ours.messages / ours.wall_seconds, floor.messages / floor.wall_seconds
    return [
        Figure(f"{name}: floor, CPU s per 1,000", floor_cpu * 1000, f"{floor_cpu * 1000:.3f}"),
        Figure(f"{name}: ours, CPU s per 1,000", cpu * 1000, f"{cpu * 1000:.3f}"),
        at_most(f"{name}: CPU against the floor", cpu / floor_cpu, most_cpu, _times),
        Figure(f"{name}: floor, messages/s", floor_rate, f"{floor_rate:,.0f}"),
        Figure(f"{name}: ours, messages/s", rate, f"{rate:,.0f}"),
        # No goal: it is the server that limits both.
        Figure(f"{name}: messages/s against the floor", rate / floor_rate, _times(rate / floor_rate)),
        at_most(f"{name}: requests per message", ours.requests / ours.messages, 0.21, decimals),
        at_most(f"{name}: memory of the consumer's own", ours.memory_bytes, 18 * MIB, mb),
    ]


def limit(floor: Usage, ours: Usage) -> list[Figure]:
    """A consumer with no-op handlers against the floor, on a server that costs nothing."""
    rate, floor_rate = ours.messages / ours.wall_seconds, floor.messages / floor.wall_seconds
    cpu = ours.cpu_seconds / floor.cpu_seconds
    return [
        Figure("server at no cost: floor, messages/s", floor_rate, f"{floor_rate:,.0f}"),
        Figure("server at no cost: ours, messages/s", rate, f"{rate:,.0f}"),
        _at_least("server at no cost: messages/s against the floor", rate / floor_rate, 1.5, _times),
        Figure("server at no cost: CPU against the floor", cpu, _times(cpu)),
    ]


def slow(ours: Usage) -> list[Figure]:
    """Handlers that take their time."""
    return [
        _at_least("50 to 350 ms: slots in use", ours.occupied or 0.0, 0.98, _percent),
        at_most("50 to 350 ms: requests per message", ours.requests / ours.messages, 0.32, decimals),
    ]


def latency(warm: Latencies, cold: Latencies) -> list[Figure]:
    """Send to start of the handler."""
    return [
        at_most("send to handler, warm: median", warm.median, 0.1, ms),
        at_most("send to handler, warm: 99th percentile", warm.worst_percent, 0.4, ms),
        at_most("send to handler, cold: median", cold.median, 0.25, ms),
    ]


def hot(measured: Hot) -> list[Figure]:
    """A queue that may have four consumers."""
    return [
        Figure("hot queue: one consumer, messages/s", measured.alone, f"{measured.alone:,.0f}"),
        Figure("hot queue: up to four, messages/s", measured.together, f"{measured.together:,.0f}"),
        _at_least("hot queue: against one consumer", measured.together / measured.alone, 1.8, _times),
        _at_least("hot queue: most consumers", measured.most_consumers, 4, lambda n: f"{n:.0f}"),
    ]


def fairness(waited: float) -> list[Figure]:
    """A queue that waits while others do not empty."""
    return [at_most(f"fairness: a waiting queue is served after (slice {SLICE} s)", waited, SLICE, _s)]


def start(median: float) -> list[Figure]:
    """A consumer that is made for its run."""
    return [at_most("consumer: new process to first handler, median", median, 0.045, ms)]


def footprint(measured: Footprint) -> list[Figure]:
    """A worker at rest."""
    return [
        at_most("worker: ready after", measured.ready_after, 1.5, _s),
        at_most("worker: memory", measured.resident, 110 * MIB, mb),
    ]


def scale(measured: Scale, sweep_max: float) -> list[Figure]:
    """Many queues on one master."""
    n = f"{measured.queues:,} queues"
    return [
        at_most(f"{n}: first sweep", measured.first_sweep, sweep_max, _s),
        at_most(f"{n}: CPU of the master at rest (cores)", measured.cpu_share, 0.2, decimals),
        at_most(f"{n}: memory of the master", measured.resident, 250 * MIB, mb),
        at_most(f"{n}: a turn without events, CPU", measured.turn_median, 0.005, ms),
        Figure(f"{n}: database operations of it", measured.turn_operations, f"{measured.turn_operations:.0f}"),
        at_most(f"{n}: notified to assigned, median", measured.notified, 0.1, ms),
        at_most("1,000 woken at once: all 20 workers are full", measured.workers_filled, 1.0, _s),
        at_most("1,000 woken at once: a freed slot filled, median", measured.refill_median, 0.1, ms),
        Figure("1,000 woken at once: all served once after", measured.all_served, _s(measured.all_served)),
        at_most("1,000 woken at once: served twice before all once", measured.served_twice_before_all, 0, str),
    ]


def in_document(text: str, name: str, figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """A Markdown document with the table between its marks `<!-- NAME -->` and `<!-- end NAME -->` made again.

    Raises `InvalidInput` if the document has no such marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise InvalidInput(f"the document has no lines {begin} and {end}, between which the figures go; add them")
    rows = [
        "| measured | figure | goal | met |",
        "|---|---:|---|---|",
        *(f"| {f.what} | {f.shown} | {f.goal} | {MET[f.met]} |" for f in figures),
    ]
    told = "; ".join(f"{what}: {value}" for what, value in machine.items())
    return "\n".join([f"{before}{begin}", "", *rows, "", f"{told}.", "", f"{end}{after}"])
