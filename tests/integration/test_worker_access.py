"""What a worker prepares for its consumers: they start without boto3's client, and with the keys of the moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import boto3
import pytest
from bson import ObjectId

from jobs.consumer.report import RunReport
from jobs.consumer.settings import QueueSettings
from jobs.worker import inheritance
from jobs.worker.access import Access
from jobs.worker.consumer import ConsumerProcess
from jobs.worker.pool import Pool
from queues import services
from queues.models import Queue
from queues.sqs import OutgoingMessage, get_gateway, preparation
from queues.sqs.connection import Boto3
from queues.sqs.express.connections import tls_context
from queuesite.foundation.addresses import Running, write_record
from tests.conftest import Configure
from tests.support import handlers_for_tests  # noqa: F401 (registers them)
from tests.support.credential_sources import CredentialSource, credential_source
from tests.support.faults import SqsProxy
from tests.support.waiting import eventually

NO_KEYS: dict[str, Any] = {
    "aws_access_key_id": None,
    "aws_secret_access_key": None,
    "aws_session_token": None,
    "aws_profile": None,
}


@pytest.fixture
def source() -> Iterator[CredentialSource]:
    with credential_source() as running:
        yield running


@pytest.fixture
def no_keys(faulty: SqsProxy, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> SqsProxy:
    """SQS, and nothing of the test run's own credentials."""
    monkeypatch.setattr(boto3.session, "Session", boto3.Session)  # each reads its files itself
    configure(**NO_KEYS)
    return faulty


def key(access: Access) -> str | None:
    prepared = access.prepared()
    return prepared.keys.access_key if prepared is not None and prepared.keys is not None else None


@pytest.fixture
def access_of() -> Iterator[Callable[..., Access]]:
    made: list[Access] = []

    def make(*args: Any) -> Access:
        made.append(Access(*args))
        return made[-1]

    yield make
    for access in made:
        access.stop()
        assert access.join(30)


class TestKeys:
    def test_those_that_were_changed_in_a_file_are_found_at_the_next_look(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, access_of: Callable[..., Access]
    ) -> None:
        file = tmp_path / "credentials"
        access = access_of(configure(aws_shared_credentials_file=write_keys(file, "ASIAOLD")))
        assert key(access) == "ASIAOLD"

        write_keys(file, "ASIANEW")
        assert key(access) == "ASIAOLD"
        access.look()

        assert key(access) == "ASIANEW"

    def test_those_that_come_later_are_found(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, access_of: Callable[..., Access]
    ) -> None:
        file = tmp_path / "credentials"
        access = access_of(configure(aws_shared_credentials_file=file))
        assert access.prepared() is not None
        assert key(access) is None
        access.look()
        assert key(access) is None

        write_keys(file, "ASIALATE")
        access.look()

        assert key(access) == "ASIALATE"

    def test_those_that_expire_are_renewed_in_time_and_not_before(
        self, no_keys: SqsProxy, configure: Configure, source: CredentialSource, access_of: Callable[..., Access]
    ) -> None:
        now = [time.time()]
        access = access_of(configure(aws_container_credentials_full_uri=f"{source.address}/container"), lambda: now[0])
        first = key(access)
        given = source.given
        now[0] += 2_000
        access.look()
        assert (key(access), source.given) == (first, given)

        now[0] += 1_000
        access.look()

        assert source.given == given + 1
        assert key(access) == f"ASIA{source.given}"
        prepared = access.prepared()
        assert prepared is not None
        assert prepared.keys is not None
        assert prepared.keys.token == f"token-{source.given}"
        assert prepared.expires_at is not None

    def test_a_look_that_fails_changes_nothing(
        self,
        no_keys: SqsProxy,
        configure: Configure,
        tmp_path: Path,
        access_of: Callable[..., Access],
    ) -> None:
        file = tmp_path / "credentials"
        access = access_of(configure(aws_shared_credentials_file=write_keys(file, "ASIAOLD")))
        assert key(access) == "ASIAOLD"

        file.unlink()
        access.look()
        assert key(access) == "ASIAOLD"
        write_keys(file, "ASIANEW")
        access.look()

        assert key(access) == "ASIANEW"


class TestNothingIsPrepared:
    def test_with_boto3_for_everything(
        self, faulty: SqsProxy, configure: Configure, access_of: Callable[..., Access]
    ) -> None:
        assert access_of(configure(sqs_transport="boto3")).prepared() is None

    def test_where_no_server_is_known_until_one_is(
        self, faulty: SqsProxy, configure: Configure, access_of: Callable[..., Access], tmp_path: Path
    ) -> None:
        address = faulty.address
        access = access_of(configure(aws_sqs_endpoint=None, data_dir=tmp_path))
        assert access.prepared() is None

        configure(aws_sqs_endpoint=address)

        prepared = access.prepared()
        assert prepared is not None
        assert prepared.url == address


class TestTheForkServer:
    def test_has_the_authorities_of_tls_and_leaves_nothing_open(self, configure: Configure) -> None:
        tls_context.cache_clear()
        sockets, threads = set(inheritance.open_sockets().items()), set(inheritance.running_threads())

        preparation.preload(configure(aws_sqs_endpoint="https://sqs.example.com"))

        assert tls_context.cache_info().currsize == 1
        # What tests before have left behind may end meanwhile.
        assert set(inheritance.open_sockets().items()) <= sockets
        assert set(inheritance.running_threads()) <= threads

    def test_does_without_boto3_for_the_embedded_server(
        self, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Boto3, "find", lambda _: pytest.fail("it was asked"))
        config = configure(aws_sqs_endpoint=None, data_dir=tmp_path)
        write_record(config, {"sqs": Running.of("http://127.0.0.1:1", os.getpid())})

        preparation.preload(config)


@dataclass
class Consumers:
    """Consumer processes of a fork server that this test has to itself."""

    pool: Pool
    clients: Path

    def run(self, consumer: ConsumerProcess, queue: Queue) -> RunReport:
        """Have a consumer process a queue until it is empty."""
        job_id = ObjectId()
        consumer.start(job_id, QueueSettings.of(queue))
        reports: dict[ObjectId, RunReport] = {}

        def ended() -> RunReport | None:
            wait(self.pool.sources()[0], timeout=1)
            reports.update(self.pool.ended())
            return reports.get(job_id)

        report = eventually(ended, 60, "the run ended")
        assert report is not None
        return report

    def clients_of(self, consumer: ConsumerProcess) -> int:
        """How many clients of boto3 it has made."""
        made = self.clients.read_text().split() if self.clients.exists() else []
        return made.count(str(consumer.pid))


@pytest.fixture
def consumers(configure: Configure, tmp_path: Path) -> Iterator[Callable[..., Consumers]]:
    server: Any = forkserver._forkserver
    server._stop()
    clients = tmp_path / "clients-made"
    made: list[Pool] = []

    def start(**settings: object) -> Consumers:
        pool = Pool(
            configure(
                handler_modules="tests.support.handlers_for_tests",
                ledger_dir=tmp_path,
                clients_made=clients,
                idle_seconds=1,
                consumer_usage_limit=1,
                **settings,
            )
        )
        pool._context.set_forkserver_preload(["tests.support.counted_clients", "jobs.worker.preload"])
        made.append(pool)
        return Consumers(pool, clients)

    yield start
    for pool in made:
        pool.close(5.0)
    server._stop()


def test_consumers_make_no_client_of_boto3_and_begin_with_keys_that_an_old_fork_server_did_not_have(
    no_keys: SqsProxy, configure: Configure, consumers: Callable[..., Consumers], tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    configure(aws_shared_credentials_file=write_keys(file, "ASIAOLD"))
    queue = services.create("orders", settings={"handler": "recorder", "visibility_timeout": 600})
    # One succeeds, one asks for a retry, and one is rejected: all that a consumer does with messages.
    bodies = ["a", '{"do": {"retry": 0, "times": 1}}', '{"do": {"reject": "no such customer"}}']
    assert not get_gateway().send(queue.queue_url, [OutgoingMessage(body) for body in bodies]).failures
    started = consumers()
    old = started.pool.obtain()
    fork_server: Any = forkserver._forkserver
    pid = fork_server._forkserver_pid

    write_keys(file, "ASIANEW")
    started.pool._access.look()
    no_keys.credentials.clear()
    report = started.run(old, queue)

    assert report.processed == 2
    assert queue.dlq_url is not None
    assert get_gateway().depth(queue.dlq_url).total == 1
    assert started.clients_of(old) == 0
    no_keys.credentials.clear()
    young = started.pool.obtain()
    started.run(young, queue)

    assert young.pid != old.pid
    assert fork_server._forkserver_pid == pid
    assert {used for used, _ in no_keys.credentials} == {"ASIANEW"}
    assert started.clients_of(young) == 0


def test_with_boto3_for_everything_a_consumer_makes_a_client(
    faulty: SqsProxy, configure: Configure, consumers: Callable[..., Consumers]
) -> None:
    configure(sqs_transport="boto3")
    queue = services.create("orders", with_dlq=False, settings={"handler": "recorder"})
    started = consumers()
    consumer = started.pool.obtain()

    started.run(consumer, queue)

    assert started.clients_of(consumer) == 1


def test_a_consumer_renews_its_keys_by_itself_when_they_are_about_to_expire(
    no_keys: SqsProxy,
    configure: Configure,
    source: CredentialSource,
    consumers: Callable[..., Consumers],
) -> None:
    source.lifetime = 60  # so little is left from the beginning that each look renews them
    configure(aws_container_credentials_full_uri=f"{source.address}/container")
    queue = services.create("orders", with_dlq=False, settings={"handler": "recorder"})
    started = consumers()
    consumer = started.pool.obtain()
    prepared = started.pool._access.prepared()
    assert prepared is not None
    assert prepared.keys is not None
    given = source.given
    no_keys.credentials.clear()

    started.run(consumer, queue)

    assert source.given > given
    assert no_keys.credentials
    assert prepared.keys.token not in {token for _, token in no_keys.credentials}
    assert started.clients_of(consumer) == 0


def write_keys(file: Path, key: str) -> Path:
    file.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\naws_session_token=a-token\n")
    return file
