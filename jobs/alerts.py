"""Which problems cause notices, and when: one when something has been wrong for a while, one when it is over.

    what is wrong now -> the collection `alerts` -> claimed by one process -> sent

A background task checks each minute, so that notices come even if every master and worker is dead; while nobody runs
it, the leader does. A claim decides which process sends; one that dies at it leaves the notice unsent rather than
having it sent twice. Functions raise pymongo's errors as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs import attention, notices, reads, services
from jobs.alert_models import Alert, AlertState, NoticeKind, Silence
from jobs.repositories import alerts, silences
from jobs.repositories.alerts import SYSTEM, SeenProblem
from queues.health.names import ALL, URGENT, Health
from queues.health.rules import Problem, Tone
from queues.models import Queue
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.logs import get_logger
from queuesite.foundation.quantities import plural

log = get_logger(__name__)

#: Most queues that are looked at, the worst first. If there are more, none is reported as over.
MOST_QUEUES = 500
#: Most alerts that one notice lists; the others are counted.
LISTED = 20
#: The longest time between two tries of a notice, which begins with a minute and doubles.
LONGEST_PAUSE = timedelta(hours=1)
#: A process that has been sending for longer is dead.
CLAIM_HOLDS = timedelta(minutes=10)
#: If the background tasks have not looked for longer, nobody runs them. They look each minute, and begin up to half
#: a minute late.
CHECKED_WITHIN = timedelta(minutes=3)
_MOST_ALERTS = 2 * MOST_QUEUES


def check(*, by_leader: bool = False) -> int:
    """Send the notices that are due; return how many alerts they cover, ends included.

    `by_leader`: a master does it because nobody runs the background tasks, which is itself a problem.
    """
    now = database_clock.now()
    if not by_leader:
        alerts.checked(now)  # metrics say that the background tasks run, even if no notice is sent
    if get_config().alert_urls is None:
        return 0
    seen, answered = look(now, by_leader=by_leader)
    alerts.abandoned(now - CLAIM_HOLDS)
    present = {one.id: one for one in seen}
    silenced = {one.id for one in silences.holding(now)}
    begun: list[Alert] = []
    over: list[Alert] = []
    for alert in alerts.all_alerts(_MOST_ALERTS):
        gone = alert.id not in present and answered(alert.problem)
        found = present.get(alert.id)
        unwanted = found is not None and not found.wanted
        if (gone or unwanted) and alert.state == AlertState.PENDING:
            alerts.forget(alert)
        elif _is_silenced(alert, silenced) or (alert.try_again_at is not None and alert.try_again_at > now):
            continue
        elif gone and alert.state == AlertState.SENT:
            over.append(alert)
        elif found is not None and alert.state == AlertState.PENDING and now - alert.first_seen_at >= found.after:
            begun.append(alert)
    return _send(begun, AlertState.SENDING, now) + _send(over, AlertState.ENDING, now)


def look(now: datetime, *, by_leader: bool) -> tuple[list[SeenProblem], Callable[[str], bool]]:
    """Record what is wrong now, without sending anything. Returns it, and of which problems it is all."""
    seen, answered = _seen()
    if by_leader:
        sentence = (
            "nobody runs the background tasks (qcluster), so queues are not synced, nor their dead letters counted"
        )
        seen.append(SeenProblem(f"{SYSTEM}:no-qcluster", "", "no-qcluster", sentence, _after()))
    alerts.note((one for one in seen if one.wanted), now)
    return seen, answered


def last_check() -> datetime | None:
    """When the background tasks last looked for what to send, or None."""
    return alerts.last_check()


def unchecked() -> bool:
    """Whether notices are to be sent, and the background tasks have not looked for too long."""
    if get_config().alert_urls is None:
        return False
    last = alerts.last_check()
    return last is None or last < database_clock.now() - CHECKED_WITHIN


@dataclass(frozen=True)
class Open:
    """An alert that is not over, or of whose end no notice was sent yet."""

    alert: Alert
    #: The silence that holds for it and ends last.
    silence: Silence | None = None


def open_alerts(limit: int) -> list[Open]:
    """Up to `limit` alerts of which notices were or will be sent, the earliest first."""
    holding = {one.id: one for one in silences.holding(database_clock.now())}

    def silence_of(alert: Alert) -> Silence | None:
        found = [holding[key] for key in (SYSTEM, alert.key) if key in holding]
        return max(found, key=lambda one: one.until, default=None)

    return [Open(alert, silence_of(alert)) for alert in alerts.all_alerts(limit)]


def _is_silenced(alert: Alert, silenced: set[str]) -> bool:
    return SYSTEM in silenced or alert.key in silenced


def _seen() -> tuple[list[SeenProblem], Callable[[str], bool]]:
    """What is wrong now, and of which problems that is all."""
    workers = services.list_workers()
    context = reads.queue_context(present=workers)
    found = attention.needed(MOST_QUEUES, context)
    seen = [
        SeenProblem(
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
        sentence = "no master leads, so nothing is assigned to workers"
        seen.append(SeenProblem(f"{SYSTEM}:no-leader", "", "no-leader", sentence, _after()))
    if not any(services.is_alive(worker, context.now) for worker in workers):
        sentence = "no worker is alive, so no message is handled"
        seen.append(SeenProblem(f"{SYSTEM}:no-workers", "", "no-workers", sentence, _after()))
    complete = len(found) < MOST_QUEUES
    # Where no worker takes assignments, nobody knows what the fleet lacks.
    unknown = set[str]() if context.fleet.offers else {Health.UNSERVED.value, Health.STARVED.value}
    return seen, lambda problem: complete and problem not in unknown


def _after(queue: Queue | None = None) -> timedelta:
    own = None if queue is None else queue.notify_after
    return timedelta(seconds=get_config().alert_after_seconds if own is None else own)


def _is_wanted(queue: Queue, problem: Problem) -> bool:
    words = (queue.notify_of or get_config().alert_on).split(",")
    return ALL in words or problem.health in words or (URGENT in words and problem.tone is Tone.DANGER)


def _send(due: Sequence[Alert], state: AlertState, now: datetime) -> int:
    claimed = [alert for alert in due if alerts.claim(alert, state, now)]
    if not claimed:
        return 0
    over = state is AlertState.ENDING
    title = f"Queuesite: {plural(len(claimed), 'problem')}{' over' if over else ''}"
    lines = [f"{alert.subject or 'system'}: {alert.problem}: {alert.sentence}" for alert in claimed[:LISTED]]
    if len(claimed) > LISTED:
        lines.append(f"and {len(claimed) - LISTED:,} more")
    body = "\n".join(f"{'over: ' if over else ''}{line}" for line in lines)
    error = notices.deliver(NoticeKind.OVER if over else NoticeKind.BEGUN, title, body, len(claimed))
    if not error:
        alerts.sent(claimed, over=over)
        return len(claimed)
    again = {one: now + min(LONGEST_PAUSE, timedelta(minutes=1) * 2 ** min(one.failures, 10)) for one in claimed}
    alerts.not_sent(again, AlertState.SENT if over else AlertState.PENDING, error)
    return 0
