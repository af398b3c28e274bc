"""MongoDB: indexes, routing, errors, time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId
from django.contrib.auth.models import User
from django.db import OperationalError, connections, models
from django.test.utils import isolate_apps
from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from queues import repository
from queues.models import Queue
from queuesite.foundation import databases
from queuesite.foundation.addresses import Running, write_record
from queuesite.foundation.config import Config
from queuesite.foundation.databases import (
    Router,
    collection,
    database_errors,
    ensure_indexes,
    mongo_settings,
    mongodb_errors,
)
from queuesite.foundation.errors import DatabaseUnavailable, MongoDenied, MongoUnavailable, SqsUnavailable
from tests.conftest import Configure
from tests.support.background import Background, running
from tests.support.processes import LONGEST
from tests.support.servers import free_port

pytestmark = pytest.mark.usefixtures("mongo")

Model = type[models.Model]


@pytest.fixture
def things() -> Iterator[Model]:
    """A model with a collection of its own, which is dropped afterwards."""
    with isolate_apps("queues"):

        class Thing(models.Model):
            class Meta:
                app_label = "queues"
                db_table = f"things_{ObjectId()}"
                managed = False

        yield Thing
        collection(Thing).drop()


def indexes(model: Model) -> dict[str, dict[str, Any]]:
    return {name: dict(found) for name, found in collection(model).index_information().items() if name != "_id_"}


class TestIndexes:
    def test_missing_indexes_are_made_with_their_options(self, things: Model) -> None:
        ensure_indexes(
            {
                things: [
                    IndexModel([("name", ASCENDING)], unique=True, name="name_unique"),
                    IndexModel([("status", ASCENDING), ("createdAt", DESCENDING)], name="status_createdAt"),
                    IndexModel([("lastModified", ASCENDING)], name="ttl", expireAfterSeconds=60),
                ]
            }
        )

        found = indexes(things)
        assert set(found) == {"name_unique", "status_createdAt", "ttl"}
        assert found["name_unique"]["unique"] is True
        assert [tuple(key) for key in found["status_createdAt"]["key"]] == [("status", 1), ("createdAt", -1)]
        assert found["ttl"]["expireAfterSeconds"] == 60

    def test_unique_index_holds(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("name", ASCENDING)], unique=True, name="name_unique")]})
        collection(things).insert_one({"name": "a"})

        with pytest.raises(DuplicateKeyError):
            collection(things).insert_one({"name": "a"})

    def test_again_changes_nothing(self, things: Model) -> None:
        wanted = {things: [IndexModel([("at", ASCENDING)], name="ttl", expireAfterSeconds=60)]}
        ensure_indexes(wanted)
        before = indexes(things)

        ensure_indexes(wanted)

        assert indexes(things) == before

    @pytest.mark.parametrize("seconds", [30, 90, 0])
    def test_lifetime_follows(self, things: Model, seconds: int) -> None:
        ensure_indexes({things: [IndexModel([("at", ASCENDING)], name="ttl", expireAfterSeconds=60)]})

        ensure_indexes({things: [IndexModel([("at", ASCENDING)], name="ttl", expireAfterSeconds=seconds)]})

        assert indexes(things)["ttl"]["expireAfterSeconds"] == seconds

    def test_index_that_becomes_one_with_a_lifetime(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("at", ASCENDING)], name="at")]})

        ensure_indexes({things: [IndexModel([("at", ASCENDING)], name="at", expireAfterSeconds=60)]})

        assert indexes(things)["at"]["expireAfterSeconds"] == 60

    def test_changed_keys_are_rebuilt(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="look_up")]})

        ensure_indexes({things: [IndexModel([("b", ASCENDING)], name="look_up")]})

        assert [tuple(key) for key in indexes(things)["look_up"]["key"]] == [("b", 1)]

    def test_index_that_becomes_unique_is_rebuilt(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="a")]})

        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="a", unique=True)]})

        assert indexes(things)["a"]["unique"] is True

    def test_renamed_index_replaces_the_old_one(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="old")]})

        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="new")]})

        assert set(indexes(things)) == {"new"}

    def test_index_that_the_data_forbids_is_explained(self, things: Model) -> None:
        collection(things).insert_many([{"a": 1}, {"a": 1}])

        with pytest.raises(MongoUnavailable, match="refused an operation"), mongodb_errors():
            ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="a", unique=True)]})

    def test_index_with_other_keys_and_a_lifetime_is_rebuilt(self, things: Model) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="ttl", expireAfterSeconds=60)]})

        ensure_indexes({things: [IndexModel([("b", ASCENDING)], name="ttl", expireAfterSeconds=60)]})

        assert [tuple(key) for key in indexes(things)["ttl"]["key"]] == [("b", 1)]

    @pytest.mark.parametrize("key", ["a", "b"])
    def test_index_that_another_process_drops_meanwhile(
        self, things: Model, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="ttl", expireAfterSeconds=60)]})
        look = Collection.index_information

        def look_before_it_is_dropped(self: Any) -> Any:
            found = look(self)
            self.drop_indexes()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Collection, "index_information", look_before_it_is_dropped)
            ensure_indexes({things: [IndexModel([(key, ASCENDING)], name="ttl", expireAfterSeconds=120)]})

        assert [tuple(one) for one in indexes(things)["ttl"]["key"]] == [(key, 1)]
        assert indexes(things)["ttl"]["expireAfterSeconds"] == 120

    def test_index_that_another_process_has_just_mended_stays(
        self, things: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="ttl", expireAfterSeconds=60)]})
        look = Collection.index_information

        def look_when_it_is_mended(self: Any) -> Any:
            self.database.command("collMod", self.name, index={"name": "ttl", "expireAfterSeconds": 120})
            return look(self)

        with monkeypatch.context() as patch:
            patch.setattr(Collection, "index_information", look_when_it_is_mended)
            patch.setattr(Collection, "drop_index", None)
            ensure_indexes({things: [IndexModel([("a", ASCENDING)], name="ttl", expireAfterSeconds=120)]})

        assert indexes(things)["ttl"]["expireAfterSeconds"] == 120

    def test_index_of_mongodb_itself_is_not_dropped(self, things: Model) -> None:
        collection(things).insert_one({"a": 1})

        with pytest.raises(OperationFailure):
            ensure_indexes({things: [IndexModel([("_id", ASCENDING)], name="mine")]})

    def test_many_processes_at_once(self, things: Model, tmp_path: Path) -> None:
        """Masters and workers start together, after a change of the retention and of an index."""
        ensure_indexes(
            {
                things: [
                    IndexModel([("at", ASCENDING)], name="ttl", expireAfterSeconds=60),
                    IndexModel([("old", ASCENDING)], name="a_b"),
                    IndexModel([("name", ASCENDING)], name="name_before"),
                ]
            }
        )
        script = f"""
import pathlib
import time
from pymongo import IndexModel
from queues.models import Queue
from queuesite.foundation.databases import ensure_indexes
Queue._meta.db_table = {things._meta.db_table!r}
print("ready", flush=True)
while not pathlib.Path({str(tmp_path / "go")!r}).exists():
    time.sleep(0.001)
for _ in range(5):
    ensure_indexes({{Queue: [
        IndexModel("at", name="ttl", expireAfterSeconds=120),
        IndexModel("name", name="name"),
        IndexModel([("a", 1), ("b", -1)], name="a_b"),
    ]}})
"""
        started = [Background(tmp_path, f"racer-{n}", "shell", "-v", "0", "-c", script) for n in range(4)]
        with running(*started):
            for process in started:
                process.says("ready", LONGEST)
            (tmp_path / "go").touch()
            assert [process.process.wait(LONGEST) for process in started] == [0] * 4
        found = indexes(things)
        assert set(found) == {"ttl", "name", "a_b"}
        assert found["ttl"]["expireAfterSeconds"] == 120
        assert [tuple(key) for key in found["a_b"]["key"]] == [("a", 1), ("b", -1)]


class TestRouter:
    router = Router()

    def test_models_of_ours_are_in_mongodb_and_djangos_are_not(self) -> None:
        assert self.router.db_for_read(Queue) == self.router.db_for_write(Queue) == "mongo"
        assert self.router.db_for_read(User) == self.router.db_for_write(User) == "default"

    def test_no_relation_crosses(self) -> None:
        assert self.router.allow_relation(User(), User())
        assert self.router.allow_relation(Queue(), Queue())
        assert not self.router.allow_relation(User(), Queue())

    @pytest.mark.parametrize(
        ("database", "app", "allowed"),
        [
            ("mongo", "queues", True),
            ("mongo", "jobs", True),
            ("mongo", "auth", False),
            ("default", "auth", True),
            ("default", "django_q", True),
            ("default", "queues", False),
        ],
    )
    def test_migrations_stay_on_their_side(self, database: str, app: str, allowed: bool) -> None:
        assert self.router.allow_migrate(database, app) is allowed

    def test_model_and_repository_see_the_same_documents(self) -> None:
        repository.insert(Queue(name="orders", queue_url="u"))

        assert Queue.objects.get().name == "orders"
        assert collection(Queue).name == "queues"
        assert connections["mongo"].settings_dict["NAME"] == databases.database().name


class TestSettings:
    def options(self, uri: str | None, configure: Configure, tmp_path: Path) -> dict[str, Any]:
        options: dict[str, Any] = mongo_settings(configure(mongodb_uri=uri, data_dir=tmp_path))["OPTIONS"]
        return options

    def test_acknowledged_writes_survive_a_kill(self, configure: Configure, tmp_path: Path) -> None:
        options = self.options("mongodb://example.com/", configure, tmp_path)

        assert options["w"] == "majority"
        assert options["journal"] is True

    @pytest.mark.parametrize("stated", ["w=1", "W=1&journal=false"])
    def test_address_may_say_otherwise(self, configure: Configure, tmp_path: Path, stated: str) -> None:
        options = self.options(f"mongodb://example.com/?{stated}", configure, tmp_path)

        assert "w" not in options
        assert "journal" not in options

    def test_journal_alone_may_be_stated(self, configure: Configure, tmp_path: Path) -> None:
        options = self.options("mongodb://example.com/?journal=false", configure, tmp_path)

        assert options["w"] == "majority"
        assert "journal" not in options

    def test_times_of_the_address_go_before_our_own(self, configure: Configure, tmp_path: Path) -> None:
        ours = self.options("mongodb://example.com/", configure, tmp_path)
        stated = self.options("mongodb://example.com/?serverSelectionTimeoutMS=7&appName=x", configure, tmp_path)

        assert set(ours) - set(stated) == {"serverSelectionTimeoutMS", "appname"}
        assert stated["socketTimeoutMS"] == ours["socketTimeoutMS"]

    def test_srv_address_is_not_looked_up(self, configure: Configure, tmp_path: Path) -> None:
        options = self.options("mongodb+srv://cluster.invalid/", configure, tmp_path)

        assert options["w"] == "majority"

    def test_no_address(self, configure: Configure, tmp_path: Path) -> None:
        settings = mongo_settings(configure(mongodb_uri=None, data_dir=tmp_path))

        assert settings["HOST"] == "mongodb://127.0.0.1:1"  # refuses at once

    def test_dates_are_aware(self) -> None:
        collection(Queue).insert_one({"name": "a", "queueUrl": "u", "createdAt": datetime(2026, 1, 2, tzinfo=UTC)})

        [document] = collection(Queue).find({"name": "a"})
        assert document["createdAt"] == datetime(2026, 1, 2, tzinfo=UTC)


class TestNoServer:
    """Django's settings were made where no server was known."""

    @pytest.fixture(autouse=True)
    def nowhere(self, mongo: None, monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path) -> None:
        settings = connections["mongo"].settings_dict
        for name in ("HOST", "OPTIONS"):  # `database` may change them; they are restored
            monkeypatch.setitem(settings, name, settings[name])
        address = settings["HOST"]
        config = configure(mongodb_uri=None, data_dir=tmp_path)
        settings.update(mongo_settings(config))
        self.config, self.address = config, address

    def test_how_to_start_one_is_said_at_once(self) -> None:
        for use in (databases.database, lambda: collection(Queue).find_one()):
            with pytest.raises(MongoUnavailable, match="make up"):
                use()

    def test_embedded_server_that_was_started_since_is_used(self) -> None:
        write_record(self.config, {"mongodb": Running.of(self.address, os.getpid())})

        databases.check_mongodb()

        assert connections["mongo"].settings_dict["HOST"] == self.address

    def test_failure_where_there_is_none_says_the_same(self) -> None:
        with pytest.raises(MongoUnavailable, match="make up"), mongodb_errors():
            raise AutoReconnect("closed")


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (AutoReconnect("closed"), "does not answer; is it running, and is MONGODB_URI right?"),
            (ServerSelectionTimeoutError("no server"), "does not answer; is it running"),
            (OperationFailure("auth failed", 18), "refused the user or password; check MONGODB_URI"),
            (OperationFailure("not authorized", 13), "refused the user or password"),
            (OperationFailure("bad auth", 8000), "refused the user or password"),
            (OperationFailure("first line\nsecond line", 2), "refused an operation: first line"),
            (OperationFailure("", 2), "refused an operation"),
            (ConfigurationError("unknown option"), "cannot be used: unknown option"),
        ],
    )
    def test_error_is_explained_in_one_line(self, configure: Configure, error: Exception, words: str) -> None:
        configure(mongodb_uri="mongodb://me:hidden@example.com/")

        with pytest.raises(MongoUnavailable) as caught, mongodb_errors():
            raise error

        shown = str(caught.value)
        assert words in shown
        assert "me:********@example.com" in shown
        assert "hidden" not in shown
        assert "\n" not in shown
        assert caught.value.__cause__ is error
        assert "example" not in (caught.value.public or "")
        assert "me:" not in (caught.value.public or "")

    def test_a_reason_from_the_library_shows_no_password(self, configure: Configure) -> None:
        configure(mongodb_uri="mongodb://me:hidden@example.com/")

        with pytest.raises(MongoUnavailable) as caught, mongodb_errors():
            raise ConfigurationError("cannot use mongodb://me:hidden@example.com/")

        assert "hidden" not in str(caught.value)

    def test_a_missing_table_is_said_without_the_database_s_path(self, configure: Configure, tmp_path: Path) -> None:
        configure(database_url=None, data_dir=tmp_path)

        with pytest.raises(DatabaseUnavailable) as caught, database_errors():
            raise OperationalError("no such table: auth_user")

        assert str(tmp_path) in str(caught.value)
        assert caught.value.public == "Django's database lacks a table; run `manage.py migrate`"

    def test_other_errors_pass(self) -> None:
        with pytest.raises(ZeroDivisionError), mongodb_errors():
            _ = 1 / 0

    def test_check_touches_the_server(self) -> None:
        databases.check_mongodb()

    def test_check_without_a_server_says_how_to_start_one(self, configure: Configure, tmp_path: Path) -> None:
        configure(mongodb_uri=None, data_dir=tmp_path)

        with pytest.raises(MongoUnavailable, match="make up"):
            databases.check_mongodb()

    def test_check_of_a_server_that_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(
            f"mongodb://127.0.0.1:{free_port()}", serverSelectionTimeoutMS=100
        )
        monkeypatch.setattr(databases, "database", lambda: client["x"])

        with pytest.raises(MongoUnavailable, match="does not answer"):
            databases.check_mongodb()
        client.close()


class TestWaitFor:
    def failing(self, times: int) -> Callable[[], None]:
        calls = iter(range(times + 1))

        def check() -> None:
            if next(calls) < times:
                raise SqsUnavailable("not yet")

        return check

    def test_server_that_answers_is_not_waited_for(self) -> None:
        databases.wait_for(self.failing(0), "SQS", 0)

    def test_server_that_comes_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept = fast_time(monkeypatch)

        databases.wait_for(self.failing(3), "SQS", 60)

        assert len(slept) == 3

    def test_last_error_goes_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept = fast_time(monkeypatch)

        with pytest.raises(SqsUnavailable, match="not yet"):
            databases.wait_for(self.failing(99), "SQS", 2.5)

        assert sum(slept) == pytest.approx(2.5, abs=0.5)


def test_refused_password_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = fast_time(monkeypatch)

    def refuse() -> None:
        with mongodb_errors():
            raise OperationFailure("auth failed", 18)

    with pytest.raises(MongoDenied):
        databases.wait_for(refuse, "MongoDB", 60)

    assert slept == []


def fast_time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping alone, for the module under test alone; how long it slept."""
    slept: list[float] = []
    monkeypatch.setattr(databases, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept)))
    return slept


class TestServerTime:
    def test_clock_is_the_servers(self) -> None:
        """What the server writes by itself lies between two readings of the clock."""
        identifier = collection(Queue).insert_one({"name": "a", "queueUrl": "u"}).inserted_id
        slack = timedelta(milliseconds=2) + timedelta(seconds=databases.database_clock.error_seconds)

        before = databases.database_clock.now()
        collection(Queue).update_one({"_id": identifier}, {"$currentDate": {"wakeRequestedAt": True}})
        after = databases.database_clock.now()

        [document] = collection(Queue).find({"_id": identifier})
        assert before - slack <= document["wakeRequestedAt"] <= after + slack

    def test_reading_is_aware(self) -> None:
        assert databases.server_time().utcoffset() == timedelta(0)


class TestLostRaces:
    def insert(self, *documents: dict[str, Any]) -> BulkWriteError:
        with pytest.raises(BulkWriteError) as caught:
            collection(Queue).insert_many(documents, ordered=False)
        return caught.value

    def test_the_writes_that_others_were_faster_with(self, mongo: None) -> None:
        rows = [{"name": name, "queueUrl": url} for name, url in (("a", "1"), ("a", "2"), ("b", "3"), ("c", "3"))]
        assert databases.lost_races(self.insert(*rows)) == [1, 3]

    def test_any_other_error_is_raised(self) -> None:
        errors = [{"index": 0, "code": 11000}, {"index": 1, "code": 121}]
        error = BulkWriteError({"writeErrors": errors})
        with pytest.raises(BulkWriteError) as caught:
            databases.lost_races(error)
        assert caught.value is error

    @pytest.mark.parametrize("errors", [[], [{"index": 0, "code": 11000}]])
    def test_a_write_concern_that_was_not_met_is_no_race(self, errors: list[dict[str, int]]) -> None:
        """What the majority has not confirmed may be undone: nobody may rely on it."""
        unconfirmed = [{"code": 64, "errmsg": "waiting for replication timed out"}]
        error = BulkWriteError({"writeErrors": errors, "writeConcernErrors": unconfirmed})
        with pytest.raises(BulkWriteError) as caught:
            databases.lost_races(error)
        assert caught.value is error


class TestBulkUpsert:
    class Losing:
        """A collection in which the first write of each bulk loses its race so many times."""

        def __init__(self, times: int) -> None:
            self.times = times
            self.bulks: list[list[Any]] = []

        def bulk_write(self, writes: list[Any], **_: Any) -> None:
            self.bulks.append(list(writes))
            if len(self.bulks) <= self.times:
                raise BulkWriteError({"writeErrors": [{"index": 0, "code": 11000}]})

    def test_what_lost_a_race_is_repeated(self) -> None:
        target, writes = self.Losing(2), [UpdateOne({}, {}), UpdateOne({}, {})]
        databases.bulk_upsert(target, writes)  # type: ignore[arg-type]
        assert target.bulks == [writes, writes[:1], writes[:1]]

    def test_not_for_ever(self) -> None:
        with pytest.raises(BulkWriteError):
            databases.bulk_upsert(self.Losing(3), [UpdateOne({}, {})])  # type: ignore[arg-type]

    def test_nothing(self) -> None:
        target = self.Losing(1)
        databases.bulk_upsert(target, [])  # type: ignore[arg-type]
        assert not target.bulks


def test_collection_is_a_real_one() -> None:
    assert isinstance(collection(Queue), Collection)
    assert isinstance(Config(), Config)
