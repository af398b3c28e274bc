"""The row of numbers on the overview. A number beyond its threshold is coloured, and says so in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs import statistics
from jobs.models import Worker
from jobs.statistics import Statistics
from queues.health.limits import configured
from queues.health.rules import Health, Tone
from queuesite.foundation.quantities import duration, plural


@dataclass(frozen=True)
class Tile:
    """A number, its unit, and what stands below it; `more` is for those who point at it."""

    title: str
    value: str
    unit: str = ""
    note: str = ""
    more: str = ""
    tone: Tone | None = None


def tiles(numbers: Statistics, live: Sequence[Worker]) -> list[Tile]:
    """The numbers of the overview; `live` are the workers that live at this moment."""
    return [_backlog(numbers), _in_flight(live), _throughput(numbers), _failures(numbers), _time(numbers),
            _capacity(numbers, live), _dead(numbers), _requests(numbers)]  # fmt: skip


def _backlog(numbers: Statistics) -> Tile:
    starved, stuck = (numbers.health.get(one, 0) for one in (Health.STARVED, Health.STUCK))
    note = f"{numbers.delayed:,} delayed" if numbers.delayed else "visible when last seen"
    if starved or stuck:
        note = ", ".join(f"{count:,} {word}" for count, word in ((stuck, "stuck"), (starved, "starved")) if count)
    tone = Tone.DANGER if stuck else Tone.WARNING if starved else None
    more = f"Visible messages when queues were last observed; {numbers.delayed:,} more are delayed"
    return Tile("Backlog", f"{numbers.visible:,}", note=note, more=more, tone=tone)


def _in_flight(live: Sequence[Worker]) -> Tile:
    """The messages that live workers reported in their last heartbeats, which are newer than SQS's counts."""
    consumers = [consumer for worker in live for consumer in worker.consumers]
    handled, buffered = (sum(consumer.get(name, 0) for consumer in consumers) for name in ("inFlight", "buffered"))
    more = f"{handled:,} messages are being handled, {buffered:,} wait for a slot of their consumer"
    return Tile("In flight", f"{handled + buffered:,}", note=f"{handled:,} handled", more=more)


def _throughput(numbers: Statistics) -> Tile:
    hour = numbers.last_hour.processed
    return Tile("Throughput", f"{numbers.last_minute.processed:,}", "/min", f"{hour:,} in the last hour")


def _failures(numbers: Statistics) -> Tile:
    hour, share = numbers.last_hour, configured().failing_share
    attempts = hour.processed + hour.failed + hour.retried
    if not attempts:
        return Tile("Failure rate", "\u2013", note="no attempts")
    rate = hour.failed / attempts
    tone = Tone.DANGER if rate >= share else Tone.WARNING if rate >= share / 2 else None
    more = f"{hour.failed:,} of {attempts:,} attempts failed in the last hour; from {share:.0%} on it is red"
    if hour.retried:
        more += f"; for {hour.retried:,} more the handler asked for a retry"
    return Tile("Failure rate", f"{100 * rate:.1f}", "%", f"{hour.failed:,} failed, last hour", more, tone)


def _time(numbers: Statistics) -> Tile:
    p50, p95 = (None if at is None else duration(at) for at in (numbers.last_hour.p50, numbers.last_hour.p95))
    return Tile("p95 time", p95 or "\u2013", note=f"median {p50}" if p50 else "last hour", more="Last hour")


def _capacity(numbers: Statistics, live: Sequence[Worker]) -> Tile:
    capacity = sum(worker.capacity for worker in live if not worker.draining)
    draining = sum(worker.draining for worker in live)
    note = plural(len(live), "worker") + (f", {draining} draining" if draining else "")
    full = numbers.capacity_used >= capacity
    tone = Tone.DANGER if not capacity else Tone.WARNING if full else None
    return Tile(
        "Capacity used",
        f"{numbers.capacity_used}",
        f"of {capacity}",
        f"{note}, all full" if capacity and full else note,
        "Queues that are processed at this moment, of those that all workers together can process",
        tone,
    )


def _dead(numbers: Statistics) -> Tile:
    growing = numbers.health.get(Health.DEAD_LETTERS_GROWING, 0)
    note = f"growing in {plural(growing, 'queue')}" if growing else "when last counted"
    return Tile("Dead letters", f"{numbers.dead_letters:,}", note=note, tone=Tone.WARNING if growing else None)


def _requests(numbers: Statistics) -> Tile:
    hour = numbers.last_hour
    more = "; ".join(f"{purpose} {count:,}" for purpose, count in hour.purposes.items())
    cost = f"about ${statistics.monthly_cost(hour):.2f} a month"
    return Tile("SQS requests", f"{hour.requests:,}", "/h", cost, more)
