"""A worker and what its listener brings: who handles it, and when it is given back. The processes are stand-ins."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from jobs.consumer.held import Batch
from jobs.consumer.report import RunReport
from jobs.listener.orders import Alive, Brought, GiveBack, Hold, Missing, Target
from jobs.models import EndReason
from jobs.repositories import assignments, leases, listening, workers
from jobs.repositories.listening import NewListening
from jobs.worker.loop import WorkerLoop
from jobs.worker.pool import Pool
from queues import repository
from queues.models import Queue
from queues.sqs import ReceivedMessage
from queuesite.foundation import pipes
from queuesite.foundation.databases import database_clock
from tests.integration.test_jobs_worker import StandIn, StandInPool
from tests.support.records import all_jobs, assign, define, stored
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Configure

pytestmark = pytest.mark.usefixtures("mongo")


class Listeners(StandInPool):
    """The pool of stand-ins, whose listeners the test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[pipes.Endpoint] = []
        self.pipes: list[int] = []
        self.cannot_fork = False
        self.processes: list[SimpleNamespace] = []

    def fork(self, name: str, target: Callable[..., None], *arguments: object) -> tuple[Any, pipes.Channel]:
        if self.cannot_fork:
            raise OSError("no processes left")
        ours, theirs = pipes.pair()
        sentinel, _ = ends = os.pipe()
        self.pipes += ends
        process = SimpleNamespace(
            pid=4_712, dead=False, sentinel=sentinel, exitcode=-9, join=lambda timeout=None: None, kill=lambda: None
        )
        process.is_alive = lambda: not process.dead
        self.ends.append(theirs)
        self.processes.append(process)
        return process, ours


class Worker:
    def __init__(self, configure: Configure) -> None:
        self.pool = Listeners()
        self.passed = 0.0
        config = configure(heartbeat_seconds=0.05, worker_stalled_after=60, max_load=2, listen_queues=50)
        self.loop = WorkerLoop(config, cast(Pool, self.pool), lambda: time.monotonic() + self.passed)
        self.term = leases.acquire("master", 1_000) or 0
        self.held: dict[str, Target] = {}
        self.returned: list[Batch] = []
        self.turn()

    @property
    def id(self) -> str:
        return self.loop.worker_id

    def turn(self) -> None:
        self.loop.turn()
        self.loop.wait()
        while self.pool.ends and not self.pool.processes[-1].dead and self.pool.ends[-1].poll():
            order = self.pool.ends[-1].recv()
            if isinstance(order, Hold):
                for url in order.drop:
                    del self.held[url]
                self.held.update((target.queue_url, target) for target in order.add)
                self.say(Alive(order.serial, len(self.held), 1))
            elif isinstance(order, GiveBack):
                self.returned.append(order.batch)

    def until(self, condition: Callable[[], object], what: str) -> None:
        def after_a_turn() -> object:
            self.turn()
            return condition()

        eventually(after_a_turn, 20, what)

    def listen(self, *queues: Queue) -> None:
        """Have it listen to these."""
        wanted = [NewListening(queue.queue_url, queue.id, self.id) for queue in queues]
        listening.insert_many(wanted, self.term)
        self.until(lambda: self.held.keys() >= {queue.queue_url for queue in queues}, "the listener holds them")

    def say(self, message: object) -> None:
        """Have its listener say something."""
        self.pool.ends[-1].send(message)

    def bring(self, queue: Queue, *bodies: str, ago: float = 0.0) -> None:
        """Have its listener bring messages, which it received so many seconds ago."""
        now = time.monotonic() + self.passed - ago
        found = tuple(ReceivedMessage(body, f"handle-{body}", body, {}, {}) for body in bodies)
        self.held.pop(queue.queue_url, None)
        self.say(Brought(Batch(queue.id, queue.queue_url, found, now, now, 30)))

    def given(self, consumer: StandIn) -> list[str]:
        """The bodies that a consumer was handed."""
        return [message.body for said in consumer.told if isinstance(said, Batch) for message in said.messages]

    def returned_bodies(self) -> list[str]:
        return [message.body for batch in self.returned for message in batch.messages]

    def close(self) -> None:
        self.loop.watch.stop()
        assert self.loop.watch.join(30)
        self.loop.wakeup.close()
        for process in self.pool.processes:
            process.dead = True
        self.loop.listening.close(0.0)
        for end in self.pool.ends:
            end.close()
        for descriptor in self.pool.pipes:
            os.close(descriptor)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuesite.foundation.outage.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("queuesite.foundation.changes.MAX_AWAIT_MS", 200)  # else a watcher takes 5 s to end


@pytest.fixture(autouse=True)
def own_log_fields() -> Iterator[None]:
    """A worker gives its name to every event of its process, which here goes on without it."""
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def worker(configure: Configure) -> Iterator[Worker]:
    made = Worker(configure)
    yield made
    made.close()


def test_what_comes_is_handled_by_a_consumer_that_begins_with_it(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.bring(queue, "one", "two")
    worker.until(lambda: worker.pool.consumers, "a consumer was started")
    assert worker.given(worker.pool.consumers[0]) == ["one", "two"]
    (assignment,) = assignments.all_assignments()
    assert (assignment.worker, assignment.slot, assignment.term) == (worker.id, 0, worker.term)
    assert [job.id for job in all_jobs(queue)] == [assignment.job_id]


def test_a_queue_is_not_listened_to_while_it_is_processed(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    assignment = assign(queue, worker.id, term=worker.term)
    worker.until(lambda: not worker.held, "it is let go")
    worker.pool.reports.append((assignment.job_id, RunReport(EndReason.DRAINED, empty_at=time.monotonic())))
    worker.until(lambda: worker.held, "it is listened to again")


def test_what_comes_during_a_run_goes_to_it(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    assign(queue, worker.id, term=worker.term)
    worker.until(lambda: worker.pool.consumers, "the run has begun")
    worker.bring(queue, "late")
    worker.until(lambda: worker.given(worker.pool.consumers[0]) == ["late"], "the run has it")
    assert len(worker.pool.consumers) == 1


def test_what_a_run_declines_at_its_end_begins_the_next(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.bring(queue, "first")
    worker.until(lambda: worker.pool.consumers, "the run has begun")
    (assignment,) = assignments.all_assignments()
    late = Batch(
        queue.id,
        queue.queue_url,
        (ReceivedMessage("late", "handle-late", "late", {}, {}),),
        time.monotonic(),
        time.monotonic(),
        30,
    )
    worker.pool.refused.append(late)
    worker.loop.runs.active[assignment.id].ending = True
    worker.turn()
    assert not worker.returned
    worker.pool.reports.append((assignment.job_id, RunReport(EndReason.DRAINED, empty_at=time.monotonic())))
    worker.until(lambda: len(worker.pool.consumers) == 2, "another run has begun")
    assert worker.given(worker.pool.consumers[1]) == ["late"]
    assert not worker.returned


def test_a_claim_that_is_lost_gives_back_and_wakes(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    assign(queue, "another", term=worker.term)
    worker.bring(queue, "one")
    worker.until(lambda: worker.returned and stored(queue).wake_pending, "it is given back, and the queue woken")
    assert not worker.pool.consumers
    for _ in range(3):
        worker.turn()
    assert not worker.held, "it is left alone for a while"


def test_a_masters_assignment_to_this_worker_is_no_lost_claim(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.bring(queue, "one")
    assign(queue, worker.id, term=worker.term)
    worker.until(lambda: worker.pool.consumers and worker.given(worker.pool.consumers[0]), "the run has the message")
    assert len(assignments.all_assignments()) == 1
    assert not worker.returned


def test_another_consumer_of_a_queue_that_may_have_several(worker: Worker) -> None:
    queue = define(max_consumers=2)
    worker.listen(queue)
    assign(queue, "another", term=worker.term)
    worker.bring(queue, "one")
    worker.until(lambda: worker.pool.consumers, "a consumer was started")
    assert sorted(one.slot for one in assignments.all_assignments()) == [0, 1]


def test_a_full_worker_listens_to_nothing_and_gives_back(worker: Worker) -> None:
    queue = define("listened")
    worker.listen(queue)
    for number in range(2):
        assign(define(f"busy-{number}"), worker.id, term=worker.term)
    worker.until(lambda: len(worker.pool.consumers) == 2 and not worker.held, "the worker is full, and listens no more")
    worker.bring(queue, "one")
    worker.until(lambda: worker.returned_bodies() == ["one"], "it is given back")
    worker.until(lambda: stored(queue).wake_pending, "the queue is woken")


@pytest.mark.parametrize("change", [{"paused": True}, {"max_receive_count": 2}, {"handler": "nobody has it"}])
def test_a_changed_queue_is_let_go(worker: Worker, change: dict[str, Any]) -> None:
    queue = define()
    worker.listen(queue)
    repository.update(queue.id, change)
    worker.until(lambda: not worker.held, "it is let go")
    worker.bring(queue, "one")
    worker.until(lambda: worker.returned_bodies() == ["one"], "what its last poll brought is given back")
    assert not assignments.all_assignments()


def test_a_deleted_queue_is_let_go(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    repository.delete(queue.id)
    worker.until(lambda: not worker.held, "it is let go")


def test_a_queue_that_backs_off_is_not_listened_to(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    repository.failed(queue.id, 3, database_clock.at(time.monotonic() + 60))
    worker.until(lambda: not worker.held, "it is let go")


def test_a_changed_visibility_timeout_changes_the_window(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    assert worker.held[queue.queue_url].window == 30
    repository.update(queue.id, {"visibility_timeout": 12})
    worker.until(lambda: worker.held[queue.queue_url].window == 12, "the listener follows")


def test_what_waits_for_too_long_is_given_back(worker: Worker) -> None:
    """By then a consumer might not extend its visibility in time."""
    queue = define()
    worker.listen(queue)
    worker.bring(queue, "old", ago=15.0)
    worker.until(lambda: worker.returned_bodies() == ["old"], "it is given back")
    assert not worker.pool.consumers


def test_a_missing_queue_is_left_alone(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.held.clear()
    worker.say(Missing(queue.queue_url))
    for _ in range(4):
        worker.turn()
    assert not worker.held


def test_a_listener_that_dies_is_replaced_and_told_everything(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.held.clear()
    worker.pool.processes[-1].dead = True
    worker.until(lambda: len(worker.pool.ends) == 2 and queue.queue_url in worker.held, "another one holds the queue")


def test_what_a_deposed_leader_wrote_late_is_ignored(worker: Worker) -> None:
    first, late = define("first"), define("late")
    worker.listen(first)
    leases.resign("master", worker.term)
    term = leases.acquire("other", 1_000)
    assert term == worker.term + 1
    listening.insert_many([NewListening(late.queue_url, late.id, worker.id)], worker.term)
    other = define("new")
    listening.insert_many([NewListening(other.queue_url, other.id, worker.id)], term)
    worker.until(lambda: other.queue_url in worker.held, "the new leader's is listened to")
    assert late.queue_url not in worker.held


def test_a_worker_that_drains_lets_go_first(worker: Worker) -> None:
    queue = define()
    worker.listen(queue)
    worker.loop.stop()
    worker.until(lambda: not worker.held, "it is let go")
    worker.bring(queue, "one")
    worker.until(lambda: worker.loop.finished, "it ends")
    assert not assignments.all_assignments()
    assert not workers.all_workers()


def test_a_worker_whose_listener_cannot_work_says_so(worker: Worker) -> None:
    """Else its queues would be neither listened to nor swept."""
    queue = define()
    worker.listen(queue)

    def listens() -> int:
        (registered,) = workers.all_workers()
        return registered.listens

    assert listens() == 50
    worker.pool.cannot_fork = True  # first, since a turn may take longer than the pause before the next start
    worker.pool.processes[-1].dead = True
    worker.turn()
    worker.passed += 20
    worker.until(lambda: listens() == 0, "it takes no queues")
    worker.held.clear()
    listening.release_many(listening.all_listening())  # as the leader does then
    began = len(worker.pool.processes)
    worker.passed += 10
    worker.pool.cannot_fork = False
    worker.until(lambda: len(worker.pool.processes) > began, "a listener is tried all the same")
    worker.say(Alive(0, 0, 1))
    worker.until(lambda: listens() == 50, "it takes them again once its listener works")
