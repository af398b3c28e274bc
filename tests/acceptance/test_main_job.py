"""The main job, end to end: two workers, twelve queues, 2,400 messages by two kinds of senders."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.models import EndReason, Job, JobStatus
from jobs.repositories import assignments, jobs
from jobs.repositories.workers import all_workers
from queues import messages, services
from queues.models import Queue
from queues.sqs import OutgoingMessage
from queuesite.foundation.databases import collection
from tests.support.background import Background, running
from tests.support.ledger import Event, Ledger
from tests.support.records import all_jobs
from tests.support.system import LONG
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

    from tests.conftest import Configure

QUEUES, EACH, MAX_LOAD = 12, 200, 5

S3_EVENT = json.dumps(
    {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "eu-central-1",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "uploads"}, "object": {"key": "a+b/%C3%BCber.pdf", "size": 1024}},
            }
        ]
    }
)
SNS_ENVELOPE = json.dumps(
    {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-central-1:123456789012:topic",
        "Message": '{"order": 7, "note": "quoted \\"text\\""}',
        "Timestamp": "2026-01-31T08:15:00.000Z",
    }
)
IN_THE_WILD = (S3_EVENT, SNS_ENVELOPE, "plain text", json.dumps({"name": "Zoë 漢字 🚚"}, ensure_ascii=False), "   ")


class Samples(threading.Thread):
    """Looks at the assignments, over and over, while the system works."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.taken = 0
        self.highest_load = 0
        self.doubled: list[str] = []

    def run(self) -> None:
        while not self.stop.wait(0.02):
            present = assignments.all_assignments()
            self.taken += 1
            self.highest_load = max([self.highest_load, *Counter(a.worker for a in present).values()])
            self.doubled += [url for url, count in Counter(a.queue_url for a in present).items() if count > 1]


def most_at_once(intervals: Iterable[tuple[float, float]]) -> int:
    """The largest number of intervals that overlap."""
    edges = sorted(itertools.chain.from_iterable(((start, 1), (end, -1)) for start, end in intervals))
    return max(itertools.accumulate(step for _, step in edges), default=0)


@pytest.mark.timeout(180)
def test_every_message_of_twelve_queues_is_handled_exactly_once(
    sqs: SQSClient, mongo: None, configure: Configure, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    configure(
        handler_modules="tests.support.handlers_for_tests",
        ledger_dir=ledger,
        max_load=MAX_LOAD,
        idle_seconds=1,
        sweep_max_seconds=3,
        listen_queues=200,
        # Longer than a busy machine keeps CPU from anybody.
        worker_stalled_after=30,
        lease_seconds=20,
    )
    queues = [
        services.create(
            f"queue-{number}",
            settings={
                "concurrency": number % 5 + 1,
                "handler": "recorder",
                # Long enough that handlers of one queue overlap, where they may.
                "handler_options": {"sleep": 0.03 if number % 5 else 0.01},
            },
        )
        for number in range(QUEUES)
    ]
    for queue in queues[QUEUES // 2 :]:
        for batch in range(EACH // 10):
            bodies = (IN_THE_WILD[(batch * 10 + n) % len(IN_THE_WILD)] for n in range(10))
            sqs.send_message_batch(
                QueueUrl=queue.queue_url, Entries=[{"Id": str(n), "MessageBody": b} for n, b in enumerate(bodies)]
            )
    master = Background(tmp_path, "master", "runmaster", from_nothing=True)
    workers = [Background(tmp_path, f"worker-{n}", "runworker", from_nothing=n == 0) for n in range(2)]
    samples = Samples()
    with running(master, *workers):
        eventually(lambda: len(all_workers()) == 2, LONG, "both workers have registered")
        samples.start()
        for queue in queues[: QUEUES // 2]:
            messages.send(queue.name, [OutgoingMessage(json.dumps({"n": n})) for n in range(EACH)])

        def all_counted() -> bool:
            return sum(job.message_count for job in all_jobs()) >= QUEUES * EACH

        eventually(all_counted, 120, "the jobs' counts add up to all messages")
        eventually(lambda: not assignments.all_assignments(), LONG, "no assignment is left")
        samples.stop.set()
        samples.join()
        assert [process.stop() for process in (master, *workers)] == [0, 0, 0]

    events = Ledger(ledger).events()
    assert_handled_once(events, queues)
    assert_bodies_arrived(events, queues)
    assert_concurrency(events, queues)
    done = all_jobs()
    assert {job.status for job in done} == {JobStatus.COMPLETED}
    assert {job.failed_count for job in done} == {0}
    per_queue = Counter[str]()
    for job in done:
        per_queue[job.queue_name] += job.message_count
    assert per_queue == {queue.name: EACH for queue in queues}
    assert_documents_read_as_in_the_reference_system(done, queues)
    assert samples.taken > 20
    assert samples.doubled == []
    assert samples.highest_load > 1
    assert_loads(events, done)
    assert not jobs.unfinished()
    assert not all_workers()


def handled(events: Sequence[Event]) -> dict[str, list[tuple[Event, Event]]]:
    """The (start, end) pairs of each queue."""
    starts = {(e.queue, e.id, e.pid): e for e in events if e.event == "start"}
    pairs: dict[str, list[tuple[Event, Event]]] = defaultdict(list)
    for event in events:
        if event.event == "end":
            pairs[event.queue].append((starts[event.queue, event.id, event.pid], event))
    return pairs


def assert_handled_once(events: Sequence[Event], queues: Sequence[Queue]) -> None:
    times = Counter((e.queue, e.id) for e in events if e.event == "end")
    assert len(times) == QUEUES * EACH
    assert set(times.values()) == {1}
    assert Counter(queue for queue, _ in times) == {queue.name: EACH for queue in queues}


def assert_bodies_arrived(events: Sequence[Event], queues: Sequence[Queue]) -> None:
    wild = {queue.name for queue in queues[QUEUES // 2 :]}
    arrived = Counter(e.body for e in events if e.event == "end" and e.queue in wild)
    assert arrived == {body: QUEUES // 2 * EACH // len(IN_THE_WILD) for body in IN_THE_WILD}


def assert_concurrency(events: Sequence[Event], queues: Sequence[Queue]) -> None:
    pairs = handled(events)
    reached = {q.name: most_at_once((start.at, end.at) for start, end in pairs[q.name]) for q in queues}
    assert reached == {queue.name: queue.concurrency for queue in queues}
    for queue in queues:
        # Of one queue, only one process ever has messages under way.
        by_pid: dict[int, list[float]] = defaultdict(list)
        for start, end in pairs[queue.name]:
            by_pid[start.pid] += [start.at, end.at]
        assert most_at_once((min(times), max(times)) for times in by_pid.values()) == 1


def assert_loads(events: Sequence[Event], done: Sequence[Job]) -> None:
    """From the records: no worker ran more consumers at once than it may."""
    worker_of = {job.processor["consumerPid"]: job.processor["workerId"] for job in done}
    intervals: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for job in done:
        if job.end_reason == EndReason.REVOKED:
            # The master assigned it at the moment at which the worker claimed its last place for another queue.
            assert (job.started_at, job.message_count) == (None, 0)
            continue
        assert job.started_at is not None
        assert job.ended_at is not None
        intervals[job.processor["workerId"]].append((job.started_at.timestamp(), job.ended_at.timestamp()))
    assert len(intervals) == 2
    assert all(most_at_once(of_worker) <= MAX_LOAD for of_worker in intervals.values())
    assert {str(event.pid) for event in events} <= set(worker_of)


def assert_documents_read_as_in_the_reference_system(done: Sequence[Job], queues: Sequence[Queue]) -> None:
    ids = {queue.name: queue.id for queue in queues}
    document: dict[str, Any] | None = collection(Job).find_one({"_id": next(job.id for job in done if job.started_at)})
    assert document is not None
    assert document["queueId"] == ids[document["queueName"]]
    assert document["queueUrl"].endswith(document["queueName"])
    assert document["status"] == "completed"
    assert isinstance(document["messageCount"], int)
    assert document["processor"]["workerPid"].isdigit()
    assert document["processor"]["consumerPid"].isdigit()
    assert document["createdAt"] <= document["startedAt"] <= document["endedAt"] <= document["lastModified"]
