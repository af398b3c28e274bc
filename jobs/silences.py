"""Silences: for maintenance, no notices are sent of some queues' problems, or of any, until a moment.

No notice is sent of a problem that begins and ends within a silence. After it, notices are sent of what still lasts,
and of the end of what had been notified of before. Functions raise `QueuesiteError`s, and pymongo's errors as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bson import ObjectId

from jobs.alert_models import Silence
from jobs.repositories import silences
from jobs.repositories.alerts import SYSTEM
from queues import services as queues
from queues.events import EventKind, record
from queuesite.foundation import actor
from queuesite.foundation.actor import MAX_ACTOR
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.logs import get_logger
from queuesite.foundation.quantities import seconds_of

log = get_logger(__name__)

#: Longest silence.
LONGEST = timedelta(days=30)
#: Most queues that are silenced at once.
MOST_QUEUES = 500
#: What forms offer, in minutes; the API and the command line take any number.
SPANS = (30, 60, 120, 240, 480, 1_440, 3 * 1_440, 7 * 1_440, 30 * 1_440)
#: What forms begin with.
USUAL_SPAN = 60
#: Characters of a reason.
MAX_REASON = 500
#: Seconds that a typed span is cut to, so that any number of them is refused as too long.
_TOO_LONG = 2 * LONGEST.total_seconds()


def begin(names: Sequence[str], span: timedelta, reason: str = "") -> list[Silence]:
    """Silence these queues (none: everything) from now on; this replaces a silence that they have.

    Raises `NotFound` for a queue that does not exist, before anything is silenced.
    """
    if not timedelta(0) < span <= LONGEST:
        raise InvalidInput(
            f"the silence lasts {span}: expected more than nothing, and at most 30 days", field="minutes"
        )
    reason = " ".join(reason.split())
    if len(reason) > MAX_REASON:
        raise InvalidInput(f"the reason has {len(reason)} characters: expected at most {MAX_REASON}", field="reason")
    if len(set(names)) > MOST_QUEUES:
        raise InvalidInput(f"{len(set(names))} queues: expected at most {MOST_QUEUES} at once", field="queues")
    now = database_clock.now()
    who = actor.current()[:MAX_ACTOR]
    begun = [
        Silence(id=key, subject=subject, until=now + span, begun_at=now, actor=who, reason=reason)
        for key, subject in _keys(names).items()
    ]
    silences.begin(begun)
    for one in begun:
        log.info("notices_silenced", queue=one.subject or None, until=one.until.isoformat(), by=who)
        more = f"until {one.until:%Y-%m-%d %H:%M} UTC" + (f": {reason}" if reason else "")
        record(EventKind.NOTICES_SILENCED, queue=one.subject or None, subject=_words(one), more=more)
    return begun


def _keys(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {SYSTEM: ""}
    found = {queue.name: queue for queue in queues.by_names(list(dict.fromkeys(names)))}
    for name in names:
        if name not in found:
            raise NotFound(f"there is no queue {name[:80]!r}, so no notice was silenced")
    return {str(queue.id): name for name, queue in sorted(found.items())}


def end(key: str) -> Silence:
    """End a silence by its id. Raises `NotFound` if it does not hold."""
    ended = silences.end(key, database_clock.now())
    if ended is None:
        raise NotFound(f"there is no silence {key[:50]!r}; it may be over")
    log.info("silence_ended", queue=ended.subject or None, by=actor.current())
    record(EventKind.SILENCE_ENDED, queue=ended.subject or None, subject=_words(ended))
    return ended


def end_of(names: Sequence[str]) -> int:
    """End the silences of these queues (none: that of everything); return how many held. Raises `NotFound`."""
    holding = {one.id for one in current()}
    keys = [key for key in _keys(names) if key in holding]
    for key in keys:
        end(key)
    return len(keys)


def current() -> list[Silence]:
    """The silences that hold, the first to end first."""
    return silences.holding(database_clock.now())


def of_queue(queue_id: ObjectId) -> Silence | None:
    """The silence that holds for a queue; of several, the one that ends last."""
    found = silences.holding(database_clock.now(), (str(queue_id), SYSTEM))
    return found[-1] if found else None


def _words(silence: Silence) -> str:
    return silence.subject or "everything"


def span_of(text: str) -> timedelta:
    """A span with its unit, such as `30m`, `2h` or `1 d 12 h`; `0` is no time at all. Raises `InvalidInput`."""
    seconds = seconds_of(text)
    if seconds is None or (seconds and not any(letter.isalpha() for letter in text)):
        raise InvalidInput(
            f"span {text[:50]!r}: expected a number and its unit, like 30m or 2h; 0 ends the silence", field="span"
        )
    return timedelta(seconds=min(seconds, _TOO_LONG))
