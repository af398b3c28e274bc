"""Background tasks, run by django-q2 (`manage.py qcluster`)."""

from __future__ import annotations

from typing import Any

from django_q.models import Schedule

from queues import codec, messages, observation, services
from queues.sync import sync
from queuesite.databases import mongodb_errors
from queuesite.errors import QueuesiteError
from queuesite.public import public_text
from queuesite.tasks import Progress, background


def make_schedules() -> None:
    """Create the schedules that the system needs; run after each migration, so a new one comes with its release."""
    Schedule.objects.get_or_create(
        name="sync queues to SQS",
        defaults={"func": "queues.tasks.sync_queues", "schedule_type": Schedule.HOURLY},
    )
    Schedule.objects.get_or_create(
        name="count dead letters",
        defaults={"func": "queues.tasks.observe_dead_letters", "schedule_type": Schedule.MINUTES, "minutes": 1},
    )
    Schedule.objects.get_or_create(
        name="sample depths",
        defaults={"func": "queues.tasks.sample_depths", "schedule_type": Schedule.MINUTES, "minutes": 1},
    )


@mongodb_errors()
def sync_queues() -> str:
    """The hourly sync from the database to SQS; what it did is the task's result."""
    return sync().summary


@mongodb_errors()
def observe_dead_letters() -> int:
    """Each minute: count the dead letters of some queues, for lists and metrics; how many queues."""
    return observation.observe_dead_letters()


@mongodb_errors()
def sample_depths() -> None:
    """Each minute: record what queues hold, for the charts of the last days."""
    observation.sample_depths()


@background("redrive")
def redrive(progress: Progress, queue: str) -> dict[str, Any]:
    """Move a queue's dead letters back to it. Given out again, it moves what is still there."""
    report = messages.redrive(queue, progress.advance)
    return {"queue": queue, "moved": report.moved}


@background("sync")
def run_sync(progress: Progress) -> dict[str, Any]:
    """Make SQS follow the database."""
    return sync(progress.set_total, progress.advance).as_dict()


@background("purge")
def purge(progress: Progress, queues: list[str]) -> dict[str, Any]:
    """Delete all messages of several queues; one that cannot be purged is reported and does not stop the others."""
    progress.set_total(len(queues))
    purged: list[str] = []
    failed: dict[str, str] = {}
    for name in queues:
        try:
            with mongodb_errors():
                services.purge(name)
            purged.append(name)
        except QueuesiteError as error:
            failed[name] = public_text(error)
        progress.advance(1)
    return {"purged": purged, "failed": failed}


#: Messages that were not sent are named with the reason up to this number.
FAILURES_NAMED = 100
#: Messages that a bulk send has under way before it records that they are sent: at most so many are sent twice where
#: its process dies.
CHUNK = 1_000


@background("send", resumes=True)
def send_bulk(progress: Progress, queue: str, outgoing: list[dict[str, Any]], repeat: int) -> dict[str, Any]:
    """Send each of the messages `repeat` times, one round after another. Given out again, it goes on where it was."""
    rounds = [codec.from_json(item) for item in outgoing]
    total = len(rounds) * repeat
    failed: dict[str, str] = {}
    refused = 0  # in this run: what an earlier one that died was refused is not known any more
    while progress.done < total:
        places = range(progress.done, min(progress.done + CHUNK, total))
        report = messages.send(queue, [rounds[place % len(rounds)] for place in places])
        for index, reason in report.failures.items():
            if len(failed) < FAILURES_NAMED:
                failed[str(places[index])] = reason
        refused += len(report.failures)
        progress.advance(len(places))
        progress.save()
    return {"queue": queue, "sent": total - refused, "failed": refused, "errors": failed}
