"""The two databases: which models each holds, how MongoDB is reached, and the indexes that it must have.

Models of `queues` and `jobs` are MongoDB collections (alias `mongo`); all others are in Django's own database
(`default`). The repositories get the pymongo collection of a model by `collection()`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bson.codec_options import CodecOptions
from django.db import DatabaseError, InterfaceError, connections, models
from pymongo import IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.uri_parser import parse_uri

from queuesite.foundation.addresses import mongodb_address, no_mongodb, recorded
from queuesite.foundation.clock import DatabaseClock
from queuesite.foundation.config import Config, get_config, mask
from queuesite.foundation.errors import DatabaseUnavailable, MongoDenied, MongoUnavailable, ServerError, SqsDenied
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.logs import get_logger
from queuesite.foundation.masking import mask_addresses
from queuesite.foundation.private import DATABASE

log = get_logger(__name__)

MONGO = "mongo"
#: The apps whose models are MongoDB collections.
MONGO_APPS = frozenset({"queues", "jobs"})

Document = dict[str, Any]

#: The base class of pymongo's errors, for loops that survive them.
MongoError = PyMongoError

DUPLICATE_KEY = 11000

#: Raised by pymongo if the server is away, in contrast to an operation that it refuses.
AWAY = (AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError)

# MongoDB's error codes: an index with this name (86) or these keys (85) exists with other options.
_INDEX_CONFLICTS = frozenset({85, 86})
_INDEX_NOT_FOUND = 27
# Django needs an address even if there is none; this one refuses connections.
_NOWHERE = "mongodb://127.0.0.1:1"
#: Attempts to upsert a document that another process may be inserting; the second finds it.
_UPSERT_ATTEMPTS = 3
#: Tries to make an index that another process may be changing at the same time.
_INDEX_ATTEMPTS = 5
# Django's backend wants naive datetimes from its client; everything of ours is aware.
_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
_AUTHENTICATION_FAILED = frozenset({8000, 18, 13})


class Router:
    """Sends the models of `queues` and `jobs` to MongoDB, and all others to Django's relational database."""

    def db_for_read(self, model: type[models.Model], **_: Any) -> str:
        """The alias for reads of `model`."""
        return MONGO if model._meta.app_label in MONGO_APPS else "default"

    db_for_write = db_for_read

    def allow_relation(self, one: models.Model, other: models.Model, **_: Any) -> bool:
        """Refuse relations across the two databases."""
        # request.user is lazy: its `__class__` is the user's, but its type is not.
        return self.db_for_read(one.__class__) == self.db_for_read(other.__class__)

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        """Run each app's migrations only on its own database."""
        return (db == MONGO) == (app_label in MONGO_APPS)


def mongo_settings(config: Config) -> dict[str, Any]:
    """The entry of DATABASES for MongoDB.

    An acknowledged write must survive a kill: `w=majority` and `journal=true`, unless the address says otherwise (as
    the embedded server's does). If the embedded server is not running, it is expected back at its old address. If none
    has ever run, `database()` looks again.
    """
    last = recorded(config).get("mongodb")
    address = mongodb_address(config) or (last.address if last is not None else None)
    options: dict[str, Any] = {
        "appname": "queuesite",
        "serverSelectionTimeoutMS": 5_000,
        "connectTimeoutMS": 5_000,
        "socketTimeoutMS": 20_000,
        "tz_aware": False,
    }
    if address is not None:
        stated = {name.lower() for name in parse_uri(address)["options"]} if "+srv" not in address else set()
        # Options given here would override what the address says.
        options = {name: value for name, value in options.items() if name.lower() not in stated - {"tz_aware"}}
        if "w" not in stated:
            options["w"] = "majority"
        if "journal" not in stated and "w" not in stated:
            options["journal"] = True
    return {
        "ENGINE": "queuesite.foundation.mongodb",
        "NAME": config.mongodb_name,
        "HOST": address or _NOWHERE,
        "OPTIONS": options,
    }


def database() -> Database[Document]:
    """The pymongo database of this process. Its client is made at the first call, and so after any fork.

    Raises `MongoUnavailable` at once if no address is known.
    """
    connection = connections[MONGO]
    if connection.settings_dict["HOST"] == _NOWHERE:
        # An embedded server may have been started since Django's settings were made.
        if mongodb_address(get_config()) is None:
            raise no_mongodb()
        connection.settings_dict.update(mongo_settings(get_config()))
    found: Database[Document] = connection.database  # type: ignore[attr-defined]
    return found.with_options(codec_options=_AWARE)


def server_time() -> datetime:
    """The database server's time now (aware, UTC, to the millisecond)."""
    local_time: datetime = database().command("hello", codec_options=_AWARE)["localTime"]
    return local_time


#: This process's clock for times that two machines compare. It connects at its first use, and so after any fork.
database_clock = DatabaseClock(server_time)


def collection(model: type[models.Model]) -> Collection[Document]:
    """The pymongo collection behind `model`."""
    return database()[model._meta.db_table]


@contextmanager
def mongodb_errors() -> Iterator[None]:
    """Turn pymongo's errors into `MongoUnavailable`, with the address and the remedy.

    It is used at the doors (commands, the API, the admin, tasks, checks), and wherever code catches an error of ours to
    go on with the next item. Everything below raises pymongo's errors unchanged.
    """
    try:
        yield
    except PyMongoError as error:
        raise explained(error) from error


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn the errors of Django's own database into `DatabaseUnavailable`, with the address and the remedy."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:  # the latter: the connection was closed, or is misused
        config = get_config()
        address = mask("database_url", config.database_url) or config.data_dir / DATABASE
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = f"run `{PROGRAM} migrate`" if "no such table" in reason or "does not exist" in reason else None
        raise DatabaseUnavailable(
            f"Django's database {address} failed: {'; '.join(filter(None, (reason, hint)))}",
            public=hint and f"Django's database lacks a table; {hint}",
        ) from error


def check_database() -> None:
    """Make one request to Django's own database. Raises `DatabaseUnavailable`."""
    with database_errors(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")


def explained(error: PyMongoError) -> MongoUnavailable:
    """Our error for one of pymongo's."""
    if mongodb_address(get_config()) is None:
        return no_mongodb()
    shown = mask("mongodb_uri", mongodb_address(get_config()))
    if isinstance(error, OperationFailure) and error.code in _AUTHENTICATION_FAILED:
        return MongoDenied(
            f"MongoDB at {shown} refused the user or password; check MONGODB_URI",
            public="MongoDB refused our user or password; check MONGODB_URI",
        )
    if isinstance(error, ConfigurationError):
        return MongoUnavailable(f"MONGODB_URI={shown} cannot be used: {mask_addresses(str(error))}")
    if isinstance(error, AWAY):
        return MongoUnavailable(f"MongoDB at {shown} does not answer; is it running, and is MONGODB_URI right?")
    return MongoUnavailable(f"MongoDB at {shown} refused an operation: {(str(error).splitlines() or [''])[0][:300]}")


def check_mongodb() -> None:
    """Make one request to MongoDB. Raises `MongoUnavailable` after at most 5 s if it does not answer."""
    if mongodb_address(get_config()) is None:
        raise no_mongodb()
    with mongodb_errors():
        database().command("ping")


def wait_for(check: Callable[[], None], what: str, seconds: float) -> None:
    """Repeat `check` until it raises no `ServerError` and none of pymongo's errors, for at most `seconds`.

    Then raises the last error. Raises refused credentials at once, because waiting does not help.
    """
    deadline = time.monotonic() + seconds
    waited = False
    while True:
        try:
            with mongodb_errors():
                check()
        except (MongoDenied, SqsDenied):
            raise
        except ServerError as error:
            if time.monotonic() >= deadline:
                raise
            if not waited:
                log.warning("server_awaited", server=what, seconds=seconds, error=str(error))
                waited = True
            time.sleep(0.5)
        else:
            if waited:
                log.info("server_reached", server=what)
            return


def lost_races(error: BulkWriteError) -> list[int]:
    """The indexes of the writes of an unordered bulk that a unique index refused, because another process was faster.

    Raises the error itself if any write failed for another reason, or if a write concern was not met: such a write was
    applied, but a change of MongoDB's primary may still undo it.
    """
    failed = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(item["code"] != DUPLICATE_KEY for item in failed):
        raise error
    return [item["index"] for item in failed]


def bulk_upsert(target: Collection[Document], writes: Sequence[UpdateOne]) -> None:
    """Run upserts in one unordered bulk. If two insert the same document at once, the one that lost is repeated."""
    for attempt in range(_UPSERT_ATTEMPTS):
        if not writes:
            return
        try:
            target.bulk_write(writes, ordered=False)
            return
        except BulkWriteError as error:
            if attempt == _UPSERT_ATTEMPTS - 1:
                raise
            writes = [writes[index] for index in lost_races(error)]


def ensure_indexes(wanted: Mapping[type[models.Model], Sequence[IndexModel]]) -> None:
    """Create missing indexes and follow a changed TTL; any number of processes may do so at once.

    Every index has a name, so that one whose options have changed is found.
    """
    for model, indexes in wanted.items():
        ensure_collection_indexes(collection(model), indexes)


def ensure_collection_indexes(target: Collection[Document], indexes: Sequence[IndexModel]) -> None:
    """The same for one collection."""
    for index in indexes:
        for attempt in range(_INDEX_ATTEMPTS):
            try:
                target.create_indexes([index])
                break
            except OperationFailure as error:
                if error.code not in _INDEX_CONFLICTS or attempt == _INDEX_ATTEMPTS - 1:
                    raise
                _make_way(target, index)


def _make_way(target: Collection[Document], index: IndexModel) -> None:
    """Change the lifetime of the index that `index` conflicts with, or drop it so that it can be created again.

    Another process may be doing the same, so it is no error if the index is missing, or as it should be, by now.
    """
    name, expiry = index.document["name"], index.document.get("expireAfterSeconds")
    key = list(index.document["key"].items())
    existing = target.index_information()
    same_key = [other for other, found in existing.items() if [tuple(part) for part in found["key"]] == key]
    if name in same_key and _options(existing[name]) == _options(index.document):
        return
    previous = existing[name].get("expireAfterSeconds") if name in same_key else None
    if None not in {expiry, previous} and expiry != previous:
        with _unless_missing():
            target.database.command("collMod", target.name, index={"name": name, "expireAfterSeconds": expiry})
            log.info("index_ttl_changed", collection=target.name, index=name, seconds=expiry)
        return
    for stale in [name] if name in existing else same_key:
        with _unless_missing():
            target.drop_index(stale)
            log.info("index_dropped", collection=target.name, index=stale)


def _options(index: Mapping[str, Any]) -> Document:
    return {name: value for name, value in index.items() if name not in {"v", "ns", "key", "name"}}


@contextmanager
def _unless_missing() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code != _INDEX_NOT_FOUND:
            raise
