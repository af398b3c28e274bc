"""The test run: its servers, and what tests have in common.

The servers are started once, before Django reads its settings, by the process that pytest was started in; the workers
of pytest-xdist and the processes that tests start inherit their addresses by the environment. Where MONGODB_URI or
AWS_SQS_ENDPOINT is given, that server is used instead.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import boto3
import botocore.loaders
import botocore.session
import hypothesis
import pytest
import structlog

from queuesite.foundation import config as configuration
from queuesite.foundation import starting
from queuesite.foundation.config import Config
from tests.support import collected_once
from tests.support.bytecode import compile_all
from tests.support.environment import DIRECTORY, Servers, isolate, name_worker, settings_loaded_too_early
from tests.support.faults import SqsProxy
from tests.support.reaper import Reaper

if TYPE_CHECKING:
    import execnet
    from pytest_django import DjangoDbBlocker
    from types_boto3_sqs.client import SQSClient

    from queues.sqs.gateway import SqsGateway

# How long an example takes says something of the machine alone.
hypothesis.settings.register_profile("queuesite", deadline=None)
# That of `make test`; `make check` tries a hundred examples.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile("queuesite")

_servers = pytest.StashKey[Servers]()
_reaper = pytest.StashKey[Reaper]()
_collector = pytest.StashKey[subprocess.Popen[bytes] | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", metavar="SEED", help="run files, and the tests of each, in the random order of a seed"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.getoption("--shuffle")
    return None if seed is None else f"order: --shuffle={seed}"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.help or config.option.version:
        return
    if settings_loaded_too_early():
        raise pytest.UsageError("unset DJANGO_SETTINGS_MODULE: the tests start their servers before the settings load")
    worker = getattr(config, "workerinput", None)
    if worker is None:
        isolate(os.environ)
        started = config.stash[_servers] = Servers()
        config.stash[_reaper] = Reaper(started.directory)
        os.environ[DIRECTORY] = str(started.directory)
        several = config.getoption("dist", "no") != "no"
        try:
            with ThreadPoolExecutor(1) as pool:
                compiled = pool.submit(compile_all, config) if several else None
                started.start(os.environ)  # here, since the servers end with the thread that starts them
            if compiled is not None:
                compiled.result()
        except BaseException:
            started.stop()
            raise
        if several:
            return  # the workers run the tests, each with settings of its own
    starting.begin()
    name_worker(os.environ, worker["workerid"] if worker else "main", Path(os.environ[DIRECTORY]))
    import django

    django.setup()
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a real one takes half a second


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no collection of garbage looks at it, which saves an eighth of the CPU."""
    gc.collect()
    starting.begun()


def pytest_unconfigure(config: pytest.Config) -> None:
    if collector := config.stash.get(_collector, None):
        collector.kill()
        collector.wait()
    if started := config.stash.get(_servers, None):
        started.stop()
    if reaper := config.stash.get(_reaper, None):
        reaper.end()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[execnet.XSpec]) -> None:
    config.stash[_collector] = collected_once.begin(
        config.invocation_params.args, specs, config.stash[_servers].directory
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if config.getoption("dist") != "loadfile":
        return None
    from tests.support.division import Division

    return Division(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is not None:
        from tests.support.division import shuffle

        shuffle(items, seed)
    elif hasattr(config, "workerinput"):
        from tests.support.division import rank

        items.sort(key=lambda item: rank(item.nodeid))


class Configure(Protocol):
    """Changes settings (by their names in lower case; None: not set) for the rest of the test."""

    def __call__(self, **values: object) -> Config: ...


@pytest.fixture
def configure() -> Iterator[Configure]:
    before = dict(os.environ)
    loaded = configuration._loaded() if configuration._loaded.cache_info().currsize else None

    def change(**values: object) -> Config:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name.upper(), None)
            else:
                os.environ[name.upper()] = str(value)
        configuration._loaded.cache_clear()
        return configuration.get_config()

    yield change
    os.environ.clear()
    os.environ.update(before)
    configuration._loaded.cache_clear()
    if loaded is not None:
        # What it was, without building it again, which takes 2 ms.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(configuration, "load", lambda: loaded)
            configuration._loaded()


# --- MongoDB ---


@pytest.fixture(scope="session")
def mongo_database() -> Iterator[None]:
    """The database of this test process, with its indexes. Connects in this thread, as pytest-django expects."""
    from jobs.indexes import ensure_indexes
    from queuesite.foundation.databases import database

    ensure_indexes()
    yield
    database().client.drop_database(database().name)
    database().client.close()


@pytest.fixture
def mongo(mongo_database: None) -> None:
    """MongoDB, with every collection of ours empty."""
    from tests.support.emptied import empty_mongodb

    empty_mongodb()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: DjangoDbBlocker, mongo_database: None
) -> Iterator[None]:
    """Django's own tables, in a file, as in production: Django never closes a thread's connection to memory.

    MongoDB stays as it is: its database is this process's own already.

    MongoDB is connected by now, so a test that is marked `django_db` may use it without naming it in `databases`, and
    keeps the fast rollback that Django gives to databases with transactions.
    """
    from django.db import connections
    from django.test.utils import setup_databases, teardown_databases

    connections["default"].settings_dict["TEST"]["NAME"] = configuration.get_config().data_dir / "test.sqlite3"
    with django_db_blocker.unblock():
        created = setup_databases(verbosity=0, interactive=False, aliases={"default": True}, serialized_aliases=[])
    yield
    with django_db_blocker.unblock():
        teardown_databases(created, verbosity=0)


@pytest.fixture(scope="session", autouse=True)
def answers_are_of_now() -> Iterator[None]:
    """What pages share for a second is not shared here, where tests change what pages show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.shared.FRESH_SECONDS", 0.0)
        patch.setattr("jobs.shared.TIMES", 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def static_files_are_listed_once() -> Iterator[None]:
    """Each test client has middleware of its own, and whitenoise's lists all static files when it is made."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    listed = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, object] = {}

    def once(self: WhiteNoiseMiddleware) -> None:
        if not found:
            listed(self)
            found.update(self.files)
        self.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", once)
        yield


# --- SQS ---


@pytest.fixture(autouse=True)
def log_fields_end_with_their_test() -> Iterator[None]:
    """A master or worker in the test's process binds its id to all that is logged after it."""
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session", autouse=True)
def sessions_are_shared() -> Iterator[None]:
    """botocore reads its data files again for each session, for 0.2 s; a further client of one session takes 5 ms.

    Clients share nothing else, and sessions of another environment are others, since they look for credentials there.
    """
    make = boto3.session.Session

    @functools.cache
    def shared(environment: frozenset[tuple[str, str]], **options: Any) -> boto3.session.Session:
        return make(**options)

    def session(**options: Any) -> boto3.session.Session:
        # Of the address, which a proxy changes for each test, botocore knows nothing.
        theirs = ((k, v) for k, v in os.environ.items() if k.startswith("AWS_") and k != "AWS_SQS_ENDPOINT")
        return shared(frozenset(theirs), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3.session, "Session", session)
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.loaders.create_loader))
        yield


@pytest.fixture(scope="session", autouse=True)
def gateways_are_closed(sessions_are_shared: None) -> Iterator[None]:
    """At the end, those of other regions too, and those that tests took out of the cache."""
    from queues.sqs.gateway import SqsGateway

    gateways: WeakSet[SqsGateway] = WeakSet()
    make = SqsGateway.__init__

    def recorded(gateway: SqsGateway, *values: Any, **options: Any) -> None:
        make(gateway, *values, **options)
        gateways.add(gateway)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqsGateway, "__init__", recorded)
        yield
    for gateway in list(gateways):
        gateway.close()


@pytest.fixture(scope="session")
def sqs_client() -> Iterator[SQSClient]:
    """boto3's own client, as another program would use it."""
    address = os.environ["AWS_SQS_ENDPOINT"]
    client = boto3.client(
        "sqs",
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        endpoint_url=None if address == "aws" else address,
    )
    yield client
    client.close()


@pytest.fixture
def sqs(sqs_client: SQSClient, configure: Configure) -> Iterator[SQSClient]:
    """SQS, with no queue in it that has this test's prefix; those that the test made are deleted.

    Each test has a prefix of its own, since AWS refuses for 60 s to make a queue of a name that was deleted.
    """
    prefix = _next_prefix()
    configure(queue_name_prefix=prefix)
    yield sqs_client
    pages = sqs_client.get_paginator("list_queues").paginate(
        QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1_000}
    )
    # The whole list before the first deletion, which would shift the pages.
    urls = [url for page in pages for url in page.get("QueueUrls", ())]
    if not urls:
        return
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda url: sqs_client.delete_queue(QueueUrl=url), urls))


def _counter() -> Callable[[], str]:
    number = 0

    def following() -> str:
        nonlocal number
        number += 1
        return f"{os.environ['QUEUE_NAME_PREFIX']}{number}-"

    return following


_next_prefix = _counter()


@pytest.fixture
def gateway(sqs: SQSClient) -> SqsGateway:
    from queues.sqs import get_gateway

    return get_gateway()


@pytest.fixture(params=["express", "boto3"])
def transport(request: pytest.FixtureRequest, sqs: SQSClient, configure: Configure) -> Iterator[str]:
    """Each way in which requests go to SQS, for the rest of the test."""
    from queues.sqs import get_gateway

    configure(sqs_transport=request.param)
    get_gateway.cache_clear()
    yield request.param
    get_gateway.cache_clear()


@pytest.fixture
def queues(mongo: None, sqs: SQSClient) -> SQSClient:
    """No queue, neither here nor in SQS."""
    return sqs


@pytest.fixture
def faulty(queues: SQSClient, configure: Configure) -> Iterator[SqsProxy]:
    """A proxy through which our own code, and no other, reaches SQS in this test."""
    from queues.sqs import get_gateway

    address = os.environ["AWS_SQS_ENDPOINT"]
    if address == "aws":
        pytest.skip("AWS refuses what a proxy passes on, since the signature names the host")
    proxy = SqsProxy(address, os.environ["AWS_ACCESS_KEY_ID"])
    configure(aws_sqs_endpoint=proxy.address)
    get_gateway.cache_clear()
    yield proxy
    get_gateway.cache_clear()
    proxy.stop()
