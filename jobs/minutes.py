"""What all queues together did in each minute, as far back as an hour: minutes that are over are added up once."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from jobs.repositories import throughput
from jobs.throughput_models import Throughput
from queuesite.foundation.config import get_config

_MINUTE = timedelta(minutes=1)
#: Workers report with their heartbeats, so a minute changes for a while after its end.
_SETTLED_AFTER = timedelta(minutes=2)
#: Minutes that are remembered.
_KEPT = timedelta(hours=2)

_known: dict[str, dict[datetime, Throughput | None]] = {}
_lock = threading.Lock()


def between(begin: datetime, until: datetime) -> list[Throughput]:
    """A row for each minute in which something was done, from `begin` to before `until`, which are whole minutes.

    A process asks for each minute again until it is two minutes old.
    """
    with _lock:
        known = _known.setdefault(get_config().mongodb_name, {})
        wanted = [begin + place * _MINUTE for place in range((until - begin) // _MINUTE)]
        missing = [minute for minute in wanted if minute not in known]
        found = {minute: known.get(minute) for minute in wanted}
        if missing:
            rows = throughput.sums_by_step(missing[0], until, _MINUTE)
            found.update((row.minute, row) for row in rows if row.minute is not None)
            settled = until - _SETTLED_AFTER
            known.update((minute, found[minute]) for minute in missing if minute < settled)
            for minute in [one for one in known if one < until - _KEPT]:
                del known[minute]
    return [row for row in found.values() if row is not None]


def forget() -> None:
    """Forget every minute."""
    with _lock:
        _known.clear()
