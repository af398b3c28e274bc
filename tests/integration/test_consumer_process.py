"""Consumers as real processes, which a worker's pool starts, uses again, loses and replaces, on a real SQS."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from bson import ObjectId

from jobs.attempts import AttemptOutcome
from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.models import EndReason
from jobs.worker.consumer import ConsumerProcess
from jobs.worker.pool import CannotStart, Pool
from queues import adoption, services
from queues.models import Queue
from queues.sqs import Depth
from queuesite.foundation.config import BASE_DIR, Config, get_config
from queuesite.foundation.pipes import Channel
from tests.support import handlers_for_tests  # noqa: F401 (registers them)
from tests.support.adopted import Owner
from tests.support.ledger import Ledger
from tests.support.real_sqs import depth, put
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

    from tests.conftest import Configure

pytestmark = pytest.mark.usefixtures("queues")


def create(**settings: Any) -> Queue:
    return services.create("orders", settings={"handler": "recorder", "visibility_timeout": 600, **settings})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ledger's directory, which the fork server read from its environment: both serve all the tests of a pool."""
    server: Any = forkserver._forkserver
    server._stop()
    yield tmp_path_factory.mktemp("ledger")
    server._stop()


@pytest.fixture
def ledger(directory: Path) -> Ledger:
    found = Ledger(directory)
    found.clear()
    return found


def at_once(config: Config) -> Config:
    """Runs end as soon as their queue is empty, sooner than anybody may configure."""
    return config.model_copy(update={"idle_seconds": 0})


@pytest.fixture
def pool(configure: Configure, ledger: Ledger) -> Iterator[Pool]:
    config = configure(
        handler_modules="tests.support.handlers_for_tests",
        ledger_dir=ledger.directory,
        heartbeat_seconds=0.2,
        consumer_usage_limit=3,
    )
    made = Pool(at_once(config))
    made.warm_up()
    yield made
    made.close(5.0)


class Worker:
    """What a worker does with its pool, as far as these tests need it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.reports: dict[ObjectId, RunReport] = {}
        self.begun: dict[int, ObjectId] = {}

    def begin(self, queue: Queue) -> ConsumerProcess:
        consumer = self.pool.obtain()
        self.begun[consumer.pid] = ObjectId()
        consumer.start(self.begun[consumer.pid], QueueSettings.of(queue))
        return consumer

    def end_of(self, consumer: ConsumerProcess) -> RunReport:
        """Wait until its run has ended, in whatever way."""
        job_id = self.begun[consumer.pid]

        def ended() -> RunReport | None:
            wait(self.pool.sources()[0], timeout=1)
            self.reports.update(self.pool.ended())
            return self.reports.get(job_id)

        report = eventually(ended, 30, "the run ended")
        assert report is not None
        return report


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class TestPool:
    def test_a_process_is_used_again_up_to_its_limit_and_then_replaced(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        worker = Worker(pool)
        (first,) = pool.consumers
        pids = []
        for number in range(4):
            put(queue, f"m{number}")
            consumer = worker.begin(queue)
            pids.append(consumer.pid)
            assert worker.end_of(consumer).processed == 1
        assert pids[:3] == [first.pid] * 3
        assert pids[3] != first.pid
        eventually(lambda: gone(first.pid), 30, "the one that has served its time has ended")
        assert [event.pid for event in ledger.events("end")] == pids

    def test_a_child_that_a_handler_forks_says_and_handles_nothing(self, pool: Pool, ledger: Ledger) -> None:
        queue = create(concurrency=2)
        bodies = [f"m{number}" for number in range(8)]
        put(queue, '{"do": {"fork": 3}}', *bodies)
        worker = Worker(pool)
        consumer = worker.begin(queue)
        report = worker.end_of(consumer)
        assert (report.processed, report.failed, report.tainted) == (9, 0, False)
        assert {event.pid for event in ledger.events("end")} == {consumer.pid}
        assert len(ledger.events("end")) == 9

    def test_the_most_used_is_taken_first_and_a_new_one_where_none_is_idle(self, pool: Pool) -> None:
        queue = create()
        worker = Worker(pool)
        first = worker.begin(queue)
        second = worker.begin(queue)
        assert first.pid != second.pid
        worker.end_of(second)
        worker.end_of(first)
        worker.end_of(worker.begin(queue))
        used = max(pool.consumers, key=lambda consumer: consumer.used)
        assert pool.obtain() is used

    def test_one_that_grew_too_large_is_replaced(self, pool: Pool) -> None:
        pool._limits = replace(pool._limits, memory_mb=1)
        pool.close(5.0)
        queue = create()
        put(queue, '{"do": {"grow": 50}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        assert worker.end_of(consumer).processed == 1
        assert pool.consumers == []
        eventually(lambda: gone(consumer.pid), 30, "it has ended")

    def test_what_one_says_of_an_earlier_run_is_not_taken_for_the_present_one(self, pool: Pool) -> None:
        queue = create()
        worker = Worker(pool)
        consumer = worker.begin(queue)
        consumer.job_id = ObjectId()
        assert wait([consumer.channel.fileno()], timeout=30), "it says something"
        assert pool.ended() == []
        assert consumer.counts == {}

    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            ('{"do": {"die": 9}}', "was killed by signal 9 (SIGKILL)"),
            ('{"do": {"die": 11}}', "was killed by signal 11 (SIGSEGV)"),
            ('{"do": {"die": 40}}', "was killed by signal 40 (unknown)"),
            ('{"do": {"exit": 3}}', "ended with exit code 3"),
        ],
    )
    def test_how_one_died_is_told(self, pool: Pool, body: str, cause: str) -> None:
        queue = create()
        put(queue, body)
        worker = Worker(pool)
        consumer = worker.begin(queue)
        report = worker.end_of(consumer)
        assert report.reason is EndReason.CRASHED
        assert report.last_error == f"the consumer process {consumer.pid} {cause}"
        assert pool.consumers == []
        _, news = pool.news()[-1]
        (attempt,), (kind,) = news.attempts, news.failures
        assert (attempt.outcome, attempt.error, attempt.receive_count) == (AttemptOutcome.CRASHED, report.last_error, 1)
        assert attempt.fingerprint == kind.fingerprint
        assert attempt.message_id == kind.message_id is not None
        consumer.end(EndReason.SHUTDOWN)  # nobody listens, and nothing is raised

    def test_handlers_that_cannot_be_imported_are_told_in_the_run(
        self, pool: Pool, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The worker itself does not start then; they may have been changed since it did."""
        queue = create()
        pool.close(5.0)
        server: Any = forkserver._forkserver
        server._stop()
        configure(handler_modules="no.such.module")
        worker = Worker(pool)
        report = worker.end_of(worker.begin(queue))
        server._stop()  # the next is to know its handlers
        assert report.reason is EndReason.ERROR
        assert "no.such.module" in (report.last_error or "")

    def test_the_fork_server_finds_our_packages_by_the_path(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = []
        for before in ("", "/elsewhere", f"/elsewhere{os.pathsep}{BASE_DIR}"):
            monkeypatch.setenv("PYTHONPATH", before)
            pool.warm_up()
            paths.append(os.environ["PYTHONPATH"].split(os.pathsep))
        assert paths == [[str(BASE_DIR)], [str(BASE_DIR), "/elsewhere"], ["/elsewhere", str(BASE_DIR)]]

    def test_one_that_died_idle_is_no_failure(self, pool: Pool) -> None:
        (consumer,) = pool.consumers
        consumer.kill("the test wants it")
        assert wait([consumer.process.sentinel], timeout=30)
        assert pool.ended() == []
        assert pool.consumers == []
        assert pool.obtain() is not consumer

    def test_the_last_counts_of_one_that_died_are_kept(self, pool: Pool, ledger: Ledger) -> None:
        queue = create(concurrency=1)
        put(queue, "m", '{"do": {"wait": "never"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)

        def one_done() -> bool:
            pool.ended()
            return consumer.counts.get("processed") == 1

        eventually(one_done, 20, "it told that one is done")
        consumer.kill("the test wants it")
        report = worker.end_of(consumer)
        assert (report.reason, report.processed) == (EndReason.CRASHED, 1)

    def test_signals_of_a_terminal_or_an_init_system_do_not_reach_it(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"wait": "go"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "the message is being handled")
        os.kill(consumer.pid, signal.SIGINT)
        os.kill(consumer.pid, signal.SIGTERM)
        ledger.release("go")
        assert worker.end_of(consumer).processed == 1

    def test_a_program_that_a_handler_starts_can_be_terminated(self, pool: Pool) -> None:
        queue = create()
        put(queue, '{"do": {"program": ["sleep", "60"]}}')
        worker = Worker(pool)
        report = worker.end_of(worker.begin(queue))
        assert (report.processed, report.failed) == (1, 0)

    def test_orphaned_it_gives_back_what_it_has_not_begun_and_is_gone(self, pool: Pool, ledger: Ledger) -> None:
        queue = create(concurrency=1)
        put(queue, *(['{"do": {"wait": "never"}}'] * 4))
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "one is being handled")
        eventually(lambda: depth(queue) == Depth(0, 4, 0), 30, "all are held")
        consumer.channel.close()
        assert wait([consumer.process.sentinel], timeout=30), "it did not end"
        assert depth(queue) == Depth(3, 1, 0)
        assert consumer.cause_of_death().endswith("exit code 1")
        pool.consumers.remove(consumer)

    def test_one_whose_handler_does_not_end_is_replaced(self, pool: Pool, ledger: Ledger) -> None:
        queue = create(timeout=1)
        put(queue, '{"do": {"wait": "never"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        report = worker.end_of(consumer)
        assert (report.reason, report.timed_out) == (EndReason.TIMED_OUT, 1)
        assert consumer not in pool.consumers
        eventually(lambda: gone(consumer.pid), 30, "its process was ended")
        news = pool.news()
        assert {job_id for job_id, _ in news} == {worker.begun[consumer.pid]}
        (failure,) = [failure for _, one in news for failure in one.failures]
        assert "_wait_for" in failure.traceback

    def test_one_that_gives_no_sign_of_life_is_killed(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"hold": 60}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "it is being handled")

        def report() -> RunReport | None:
            pool.kill_silent(1.0)
            worker.reports.update(pool.ended())
            return worker.reports.get(worker.begun[consumer.pid])

        found = eventually(report, 20, "its run ended")
        assert found is not None
        assert found.reason is EndReason.CRASHED
        assert "gave no sign of life for 1 s" in (found.last_error or "")

    def test_a_worker_that_was_frozen_takes_no_silence_for_death(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"wait": "go"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "it is being handled")
        long_ago = 3_600.0
        consumer.heard_at -= long_ago
        pool._pauses.looked_at -= long_ago
        pool.kill_silent(60.0)
        assert consumer.killed_for is None
        ledger.release("go")
        assert worker.end_of(consumer).processed == 1

    def test_the_kernel_ends_one_that_cannot_see_that_its_worker_is_gone(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"hold": 60}}')
        consumer = Worker(pool).begin(queue)
        eventually(lambda: ledger.events("start"), 30, "it is being handled")
        consumer.channel.close()
        server: Any = forkserver._forkserver
        server._stop()  # as the worker's end does: no child has a share in the fork server's life
        eventually(lambda: gone(consumer.pid), 30, "its process was ended")
        pool.consumers.remove(consumer)

    def test_closing_kills_what_does_not_end(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"wait": "never"}}')
        busy = Worker(pool).begin(queue)
        idle = pool.obtain()
        eventually(lambda: ledger.events("start"), 30, "the message is being handled")
        pool.close(3.0)
        assert busy.process.exitcode == -signal.SIGKILL
        assert idle.process.exitcode == 0
        assert pool.consumers == []

    def test_a_retired_one_that_a_thread_keeps_is_killed(
        self, pool: Pool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.worker.pool.EXIT_SECONDS", 0.05)
        pool._config = pool._config.model_copy(update={"consumer_usage_limit": 1})
        queue = create()
        put(queue, '{"do": {"leave_thread": 600}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        assert worker.end_of(consumer).processed == 1
        assert pool.consumers == []
        assert consumer.process.sentinel in pool.sources()[0], "it is looked after"
        eventually(lambda: pool.ended() == [] and not pool._leaving, 20, "it has left")
        assert consumer.killed_for is not None
        assert gone(consumer.pid)


class TestNobodyWaits:
    """Whatever a consumer does or does not, its worker's loop goes on."""

    def test_one_that_is_stopped_takes_no_settings(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"wait": "go"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "it is being handled")
        os.kill(consumer.pid, signal.SIGSTOP)
        settings = QueueSettings.of(queue)
        for n in range(20):
            consumer.apply(replace(settings, handler_options={"large": "x" * 400_000, "n": n}))
        assert consumer.channel.waiting <= 2
        assert consumer.channel in pool.sources()[1], "the rest follows when it listens again"
        os.kill(consumer.pid, signal.SIGCONT)
        consumer.apply(settings)
        ledger.release("go")
        assert worker.end_of(consumer).reason in {EndReason.DRAINED, EndReason.ERROR}

    def test_one_that_is_stopped_is_killed_for_its_silence(self, pool: Pool, ledger: Ledger) -> None:
        queue = create()
        put(queue, '{"do": {"wait": "never"}}')
        worker = Worker(pool)
        consumer = worker.begin(queue)
        eventually(lambda: ledger.events("start"), 30, "it is being handled")
        os.kill(consumer.pid, signal.SIGSTOP)

        def report() -> RunReport | None:
            pool.kill_silent(1.0)
            worker.reports.update(pool.ended())
            return worker.reports.get(worker.begun[consumer.pid])

        found = eventually(report, 20, "its run ended")
        assert found is not None
        assert found.reason is EndReason.CRASHED

    def test_one_that_stands_still_in_the_middle_of_a_report(self, pool: Pool) -> None:
        (consumer,) = pool.consumers
        ours, theirs = socket.socketpair()
        consumer.channel.close()
        consumer.channel = Channel(ours)
        consumer.job_id = ObjectId()
        theirs.sendall((1_000_000).to_bytes(8, "big") + b"the beginning")
        assert pool.ended() == []
        theirs.sendall(b"more")
        assert pool.ended() == []
        consumer.job_id = None
        theirs.close()

    def test_what_cannot_be_read_ends_its_consumer_alone(self, pool: Pool) -> None:
        (consumer,) = pool.consumers
        ours, theirs = socket.socketpair()
        consumer.channel.close()
        consumer.channel = Channel(ours)
        job_id = consumer.job_id = ObjectId()
        theirs.sendall((3).to_bytes(8, "big") + b"???")
        ((found, report),) = eventually(pool.ended, 20, "its run ended")
        assert (found, report.reason) == (job_id, EndReason.CRASHED)
        assert "cannot be read" in (report.last_error or "")
        theirs.close()


class TestForking:
    def test_a_worker_lives_through_the_end_of_its_fork_server(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (consumer,) = pool.consumers
        server: Any = forkserver._forkserver
        os.kill(server._forkserver_pid, signal.SIGKILL)
        eventually(lambda: pool.ended() == [] and not pool.consumers, 20, "its children died with it")
        with pytest.raises(CannotStart, match=r"cannot start a consumer process: .*the fork server has died"):
            pool.obtain()
        with pytest.raises(CannotStart):
            pool.obtain()  # at once, while another is started
        eventually(lambda: pool.trouble is None, 30, "it can start some again")
        queue = create()
        put(queue, "m")
        worker = Worker(pool)
        assert worker.end_of(worker.begin(queue)).processed == 1
        assert worker.begun.keys() != {consumer.pid}

    def test_a_failed_fork_ends_neither_the_fork_server_nor_its_children(
        self, configure: Configure, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server: Any = forkserver._forkserver
        server._stop()
        forbidden = tmp_path / "no-forks"
        monkeypatch.setenv("NO_FORKS", str(forbidden))
        config = configure(handler_modules="tests.support.handlers_for_tests", ledger_dir=ledger.directory)
        pool = Pool(at_once(config))
        pool._context.set_forkserver_preload(["tests.support.failing_forks", "jobs.worker.preload"])
        try:
            pool.warm_up()
            queue = create()
            put(queue, '{"do": {"wait": "go"}}')
            worker = Worker(pool)
            busy = worker.begin(queue)
            eventually(lambda: ledger.events("start"), 30, "it is being handled")
            pid = server._forkserver_pid
            forbidden.touch()
            with pytest.raises(CannotStart, match=r"temporarily unavailable|could not fork"):
                pool.obtain()
            forbidden.unlink()
            eventually(lambda: pool.trouble is None, 30, "it can start some again")
            assert server._forkserver_pid == pid
            assert pool.obtain() is not busy
            ledger.release("go")
            assert worker.end_of(busy).processed == 1
        finally:
            pool.close(5.0)
            server._stop()


def test_middleware_is_built_once_in_each_process_and_closed_at_its_end(
    configure: Configure, ledger: Ledger, queues: SQSClient, directory: Path
) -> None:
    server: Any = forkserver._forkserver
    server._stop()  # it has the environment in which it was started
    config = configure(
        handler_modules="tests.support.handlers_for_tests",
        handler_middleware="tests.support.middleware_for_tests.noted",
        ledger_dir=ledger.directory,
    )
    pool = Pool(at_once(config))
    try:
        pool.warm_up()
        queue = create()
        worker = Worker(pool)
        for body in ("a", "b"):
            put(queue, body)
            consumer = worker.begin(queue)
            assert worker.end_of(consumer).processed == 1
        pid = consumer.pid
    finally:
        pool.close(5.0)
        server._stop()

    lines = (directory / "middleware").read_text().splitlines()
    assert [line for line in lines if line.startswith(f"{pid} ")] == [
        f"{pid} {what}" for what in ("built", "around a", "around b", "closed")
    ]


def test_adopted_queue_of_another_region_is_processed_there(pool: Pool, ledger: Ledger, queues: SQSClient) -> None:
    client = boto3.client("sqs", region_name="eu-west-1", endpoint_url=queues.meta.endpoint_url)
    owner = Owner(client, get_config().queue_name_prefix)
    try:
        url = owner.make("orders", dead=None)
        queue = adoption.adopt(owner.arn("orders"), handler="recorder")
        sent = client.send_message(QueueUrl=url, MessageBody="far away")
        worker = Worker(pool)

        assert worker.end_of(worker.begin(queue)).processed == 1
        assert list(ledger.handled()) == [sent["MessageId"]]
    finally:
        owner.delete_all()
