"""Work goes where it can be done: by workers that differ in handlers and pools, and while they are replaced."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.models import EndReason, Job, JobStatus
from jobs.repositories.workers import all_workers
from queues import messages, repository, services
from queues.models import Queue
from queues.sqs import OutgoingMessage
from tests.support.ledger import Sent, key_of
from tests.support.records import all_jobs
from tests.support.system import LONG, System, create, worker_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

    from tests.conftest import Configure
    from tests.support.background import Background

RECORDER = "tests.support.handlers_for_tests"
BOTH = f"{RECORDER},tests.support.handlers_resize"
#: Messages of each queue.
EACH = 3


@pytest.fixture
def system(sqs: SQSClient, mongo: None, configure: Configure, tmp_path: Path) -> Iterator[System]:
    configure()
    made = System(tmp_path)
    yield made
    made.close()


def send(system: System, queue: Queue, key: str) -> None:
    """Send a message as our own command does, and note when."""
    began = time.monotonic()
    messages.send(queue.name, [OutgoingMessage(f'{{"n": "{key}"}}')])
    system.ledger.note_sent([Sent(key, queue.name, None, began)])


def handled(system: System) -> Counter[str]:
    """How often each message was handled, by its key."""
    return Counter(str(key_of(event.body)) for event in system.ledger.events("end"))


def id_of(process: Background) -> str:
    worker = eventually(lambda: worker_of(process), LONG, "the worker has registered")
    assert worker is not None
    return worker.worker_id


def all_ended(queues: list[Queue]) -> list[Job]:
    """All runs of these queues, when they are over."""

    def ended() -> list[Job]:
        found = [job for queue in queues for job in all_jobs(queue)]
        return found if found and all(job.ended_at is not None for job in found) else []

    return eventually(ended, LONG, "every run has ended")


@pytest.mark.timeout(120)
def test_each_message_of_twelve_queues_is_handled_where_it_can_be(system: System) -> None:
    system.set(max_load=10)
    system.start("runmaster")
    lacks_it = system.start("runworker", handler_modules=RECORDER)
    has_it = system.start("runworker", handler_modules=BOTH)
    elsewhere = system.start("runworker", handler_modules=BOTH, worker_pool="gpu")
    ids = {name: id_of(one) for name, one in (("lacks", lacks_it), ("has", has_it), ("gpu", elsewhere))}
    may: dict[str, set[str]] = {}

    def group(count: int, workers: set[str], **settings: object) -> list[Queue]:
        made = [create(f"queue-{len(may) + n}", **settings) for n in range(count)]
        may.update({queue.name: {ids[name] for name in workers} for queue in made})
        return made

    queues = [
        *group(3, {"lacks", "has", "gpu"}),
        *group(3, {"has", "gpu"}, handler="resize"),
        *group(2, {"lacks", "has"}, pool="default"),
        *group(3, {"gpu"}, handler="resize", pool="gpu"),
    ]
    # What no worker can serve, until one comes.
    nobody = group(1, set(), handler="recorder")
    for queue in nobody:
        repository.update(queue.id, {"pool": "night"})
    for queue, n in itertools.product([*queues, *nobody], range(EACH)):
        send(system, queue, f"{queue.name}/{n}")
    wanted = {f"{queue.name}/{n}" for queue in queues for n in range(EACH)}
    eventually(lambda: wanted <= set(handled(system)), LONG, "every message was handled where it can be")
    assert set(handled(system)) == wanted

    system.processes[0].says("queue_unserved", LONG)
    assert not any(all_jobs(queue) for queue in nobody)
    assert all(services.get(queue.name).crash_count == 0 for queue in nobody)
    late = id_of(system.start("runworker", handler_modules=RECORDER, worker_pool="night"))
    may |= {queue.name: {late} for queue in nobody}
    wanted |= {f"{queue.name}/{n}" for queue in nobody for n in range(EACH)}
    eventually(lambda: wanted <= set(handled(system)), LONG, "what waited was handled when such a worker had come")

    for job in all_ended([*queues, *nobody]):
        assert job.status == JobStatus.COMPLETED, job.last_error
        assert job.end_reason == EndReason.DRAINED
        assert job.processor["workerId"] in may[job.queue_name], job.queue_name
    assert set(handled(system).values()) == {1}
    assert len({job.processor["workerId"] for queue in queues for job in all_jobs(queue)}) == 3


class Traffic(threading.Thread):
    """Sends a message to each of some queues in turn, until it is told to stop."""

    def __init__(self, system: System, queues: list[Queue]) -> None:
        super().__init__(daemon=True)
        self._system, self._queues = system, queues
        self.stop = threading.Event()
        self.keys: list[str] = []

    def run(self) -> None:
        for n, queue in enumerate(itertools.cycle(self._queues)):
            if self.stop.wait(0.1):
                break
            send(self._system, queue, f"{queue.name}/{n}")
            self.keys.append(f"{queue.name}/{n}")


def delays(system: System, queues: list[Queue]) -> list[float]:
    """For how many seconds each message of these queues waited for its handler."""
    names = {queue.name for queue in queues}
    sent = {one.key: one.at for one in system.ledger.sent()}
    return [
        event.at - sent[str(key_of(event.body))]
        for event in system.ledger.events("start")
        if event.queue in names and event.receive_count == 1
    ]


@pytest.mark.timeout(120)
def test_rolling_deploy_fails_no_run_and_delays_no_message(system: System) -> None:
    system.start("runmaster")
    old = [system.start("runworker", app_version="1", handler_modules=RECORDER) for _ in range(2)]
    # It is not replaced: what its queue waits for is the machine, and not the deploy.
    control = system.start("runworker", app_version="1", handler_modules=RECORDER, worker_pool="control")
    for process in [*old, control]:
        id_of(process)
    queues = [create(f"queue-{n}", pool="default") for n in range(3)]
    calm = [create("control", pool="control")]
    added = create("added", handler="resize", pool="default")
    traffic = Traffic(system, [*queues, *calm])
    traffic.start()
    send(system, added, "added/0")
    eventually(lambda: len(handled(system)) > 10, LONG, "messages are handled")
    new = []
    for process in old:
        new.append(system.start("runworker", app_version="2", handler_modules=BOTH))
        id_of(new[-1])
        assert process.stop() == 0
    after = len(traffic.keys) + 10
    eventually(lambda: len(traffic.keys) > after, LONG, "messages go on after the deploy")
    traffic.stop.set()
    traffic.join(LONG)
    wanted = {*traffic.keys, "added/0"}
    eventually(lambda: wanted <= set(handled(system)), LONG, "every message was handled")

    ended = all_ended([*queues, *calm, added])
    assert {job.status for job in ended} == {JobStatus.COMPLETED}, [job.last_error for job in ended]
    assert not list(system.ledger.events("fail"))
    assert set(handled(system).values()) == {1}
    assert {worker.version for worker in all_workers() if worker.pool == "default"} == {"2"}
    versions = {job.queue_name: job.handler_version for job in sorted(ended, key=lambda job: job.created_at)}
    assert versions == {**{queue.name: "2" for queue in queues}, "control": "1", "added": "2"}
    slow, machine = max(delays(system, queues)), max(delays(system, calm))
    # A worker that was not waited for would be pruned 30 s after its end.
    assert slow < 20 + 2 * machine, f"{slow:.2f} s; without a deploy {machine:.2f} s"
