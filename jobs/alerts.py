"""Notices of what needs attention, sent by apprise: one when it begins, one when it is over.

    what is wrong now -> the collection `alerts` -> claimed by one process -> sent -> told

A background task checks each minute, so that notices come even if every master and worker is dead. A claim decides
which process sends; one that dies at it leaves the notice unsent rather than having it sent twice. Functions raise
`MongoUnavailable`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from jobs import attention, reads, services
from jobs.alert_models import Alert, AlertState
from jobs.repositories import alerts
from jobs.repositories.alerts import SYSTEM, Seen
from queues import services as queues
from queues.health.names import ALL, URGENT
from queues.health.rules import Problem, Tone
from queues.models import Queue
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.logs import get_logger
from queuesite.foundation.quantities import plural
from queuesite.foundation.threads import joined, supervised

log = get_logger(__name__)

#: Most queues that are looked at, the worst first. Where there are more, none is reported as over.
MOST_QUEUES = 500
#: Most alerts that one notice lists; the others are counted.
LISTED = 20
#: How long all addresses together may take, in seconds.
SENDING_SECONDS = 30.0
#: The longest time between two tries of a notice, which begins with a minute and doubles.
LONGEST_PAUSE = timedelta(hours=1)
#: A process that has been sending for longer is dead.
CLAIM_HOLDS = timedelta(minutes=10)
#: Longest silence.
LONGEST_SILENCE = timedelta(days=30)


def check() -> int:
    """Send the notices that are due; return how many alerts people were told of, ends included."""
    if get_config().alert_urls is None:
        return 0
    now = database_clock.now()
    seen, complete = _seen()
    alerts.note((one for one in seen if one.wanted), now)
    alerts.abandoned(now - CLAIM_HOLDS)
    present = {one.id: one for one in seen}
    silenced = {one.id for one in alerts.silences(now)}
    begun: list[Alert] = []
    over: list[Alert] = []
    for alert in alerts.all_alerts(2 * MOST_QUEUES):
        gone = complete and alert.id not in present
        found = present.get(alert.id)
        unwanted = found is not None and not found.wanted
        if (gone or unwanted) and alert.state == AlertState.PENDING:
            alerts.forget(alert)
        elif _is_silenced(alert, silenced) or (alert.try_again_at is not None and alert.try_again_at > now):
            continue
        elif gone and alert.state == AlertState.TOLD:
            over.append(alert)
        elif found is not None and alert.state == AlertState.PENDING and now - alert.first_seen_at >= found.after:
            begun.append(alert)
    return _tell(begun, AlertState.TELLING, now) + _tell(over, AlertState.ENDING, now)


def _is_silenced(alert: Alert, silenced: set[str]) -> bool:
    return SYSTEM in silenced or alert.id.partition(":")[0] in silenced


def _seen() -> tuple[list[Seen], bool]:
    """What is wrong now, and whether that is all."""
    workers = services.list_workers()
    context = reads.queue_context(present=workers)
    found = attention.needed(MOST_QUEUES, context)
    seen = [
        Seen(
            f"{one.queue.id}:{problem.health}",
            one.queue.name,
            problem.health,
            problem.sentence,
            _after(one.queue),
            _is_wanted(one.queue, problem),
        )
        for one in found
        for problem in one.problems
    ]
    if reads.leader() is None:
        seen.append(
            Seen(f"{SYSTEM}:no-leader", "", "no-leader", "no master leads, so nothing is assigned to workers", _after())
        )
    if not any(services.is_alive(worker, context.now) for worker in workers):
        seen.append(
            Seen(f"{SYSTEM}:no-workers", "", "no-workers", "no worker lives, so no message is handled", _after())
        )
    return seen, len(found) < MOST_QUEUES


def _after(queue: Queue | None = None) -> timedelta:
    own = None if queue is None else queue.notify_after
    return timedelta(seconds=get_config().alert_after_seconds if own is None else own)


def _is_wanted(queue: Queue, problem: Problem) -> bool:
    words = (queue.notify_of or get_config().alert_on).split(",")
    return ALL in words or problem.health in words or (URGENT in words and problem.tone is Tone.DANGER)


def _tell(due: Sequence[Alert], state: AlertState, now: datetime) -> int:
    claimed = [alert for alert in due if alerts.claim(alert, state, now)]
    if not claimed:
        return 0
    over = state is AlertState.ENDING
    title = f"Queuesite: {plural(len(claimed), 'problem')}{' over' if over else ''}"
    lines = [f"{alert.subject or 'system'}: {alert.problem}: {alert.sentence}" for alert in claimed[:LISTED]]
    if len(claimed) > LISTED:
        lines.append(f"and {len(claimed) - LISTED:,} more")
    error = send(title, "\n".join(f"{'over: ' if over else ''}{line}" for line in lines))
    if error is None:
        alerts.told(claimed, over=over)
        log.info("alerts_told", count=len(claimed), over=over)
        return len(claimed)
    log.warning("alerts_not_told", count=len(claimed), error=error)
    again = {one: now + min(LONGEST_PAUSE, timedelta(minutes=1) * 2 ** min(one.failures, 10)) for one in claimed}
    alerts.not_told(again, AlertState.TOLD if over else AlertState.PENDING, error)
    return 0


def send(title: str, body: str, seconds: float = SENDING_SECONDS) -> str | None:
    """Send a notice to every address. None: at least one took it; otherwise why not, without any address.

    A receiver that answers after `seconds` may have it although it counts as not sent.
    """
    try:
        addresses = _addresses()
    except InvalidInput as error:
        return str(error)
    took: list[bool] = []

    def run() -> None:
        took.extend(notify(title, body) for notify in addresses)

    thread = supervised("alerts", run, on_death=lambda error: None)  # it is logged, and counts as not taken
    thread.start()
    joined(thread, seconds)
    refused = took.count(False)
    if refused or len(took) < len(addresses):
        log.warning("alert_addresses_failed", refused=refused, silent=len(addresses) - len(took))
    if any(took):
        return None
    return f"no address of ALERT_URLS (there are {len(addresses)}) took the notice within {seconds:g} s"


def _addresses() -> list[Callable[[str, str], bool]]:
    """How to reach each address of ALERT_URLS. Raises `InvalidInput`, which names none of them: they hold passwords."""
    from apprise import Apprise  # it takes 0.15 s, which only this needs

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses
    configured = get_config().alert_urls
    if configured is None:
        raise InvalidInput("ALERT_URLS is empty: expected addresses as apprise takes them, separated by commas")
    made = Apprise()
    if not made.add(configured.get_secret_value()) or not len(made):
        raise InvalidInput(
            "ALERT_URLS has an address that apprise does not know; see https://github.com/caronc/apprise/wiki"
        )

    def of(server: object) -> Callable[[str, str], bool]:
        one = Apprise()
        one.add(server)  # type: ignore[arg-type]
        return lambda title, body: bool(one.notify(title=title, body=body))

    return [of(server) for server in made]


def test() -> None:
    """Send a test notice. Raises `InvalidInput` if no address takes it."""
    error = send("Queuesite: test", "This is a test of ALERT_URLS. Nothing is wrong.")
    if error is not None:
        raise InvalidInput(error)


def silence(name: str | None, until: datetime | None) -> None:
    """Tell nobody of a queue (None: of anything) until a moment; None: end the silence. Raises `NotFound`.

    What begins and ends within a silence is never told. What lasts, or ends that was told of, is told after it.
    """
    if until is not None and not timedelta(0) < until - database_clock.now() <= LONGEST_SILENCE:
        raise InvalidInput(f"the silence ends at {until:%Y-%m-%d %H:%M}: expected a moment within the next 30 days")
    key, subject = (SYSTEM, "") if name is None else (str((queue := queues.get(name)).id), queue.name)
    alerts.silence(key, subject, until)
    log.info("alerts_silenced", queue=subject or None, until=None if until is None else until.isoformat())


def span_of(text: str) -> timedelta:
    """`30m`, `2h` or `3d`; `0` is no time at all. Raises `InvalidInput`."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if found is None and text != "0":
        raise InvalidInput(f"span {text[:50]!r}: expected a number and m, h or d, like 30m or 2h; 0 ends the silence")
    return timedelta() if found is None else timedelta(**{units[found[2]]: int(found[1])})
