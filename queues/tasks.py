"""Background tasks, run by django-q2 (`manage.py qcluster`)."""

from __future__ import annotations

from typing import Any

from django_q.models import Schedule

from queues import codec, messages, observation, services
from queues.sync import sync
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.tasks import Progress, background


def make_schedules() -> None:
    """Create the schedules that the system needs. It runs after each migration, so a release can bring new ones."""
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
    """The hourly sync from the database to SQS; the task's result is its summary."""
    return sync().summary


@mongodb_errors()
def observe_dead_letters() -> int:
    """Each minute: count some queues' dead letters, for lists and metrics; return how many queues were counted."""
    return observation.observe_dead_letters()


@mongodb_errors()
def sample_depths() -> None:
    """Each minute: record what queues hold, for the charts of the last days."""
    observation.sample_depths()


@background("redrive")
def redrive(progress: Progress, queue: str) -> dict[str, Any]:
    """Move a queue's dead letters back to it. If it is run again, it moves those that are left."""
    report = messages.redrive(queue, progress.advance)
    return {"queue": queue, "moved": report.moved}


@background("sync")
def run_sync(progress: Progress) -> dict[str, Any]:
    """Make SQS follow the database."""
    return sync(progress.set_total, progress.advance).as_dict()


@background("purge")
def purge(progress: Progress, queues: list[str]) -> dict[str, Any]:
    """Delete all messages of several queues. A queue that cannot be purged is reported and does not stop the others."""
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


#: At most this many messages that were not sent are named, each with the reason.
FAILURES_NAMED = 100
#: Messages that a bulk send sends before it records them: at most this many are sent twice if its process dies.
CHUNK = 1_000


@background("send", resumes=True)
def send_bulk(progress: Progress, queue: str, outgoing: list[dict[str, Any]], repeat: int) -> dict[str, Any]:
    """Send all messages `repeat` times, one round after another. If it is run again, it goes on where it was."""
    rounds = [codec.from_json(item) for item in outgoing]
    total = len(rounds) * repeat
    failed: dict[str, str] = {}
    refused = 0  # in this run: refusals of an earlier one that died are not known
    while progress.done < total:
        places = range(progress.done, min(progress.done + CHUNK, total))
        report = messages.send(queue, [rounds[place % len(rounds)] for place in places], copies=repeat > 1)
        for index, reason in report.failures.items():
            if len(failed) < FAILURES_NAMED:
                failed[str(places[index])] = reason
        refused += len(report.failures)
        progress.advance(len(places))
        progress.save()
    return {"queue": queue, "sent": total - refused, "failed": refused, "errors": failed}
