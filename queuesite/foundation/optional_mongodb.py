"""MongoDB for processes that can do without: those that only send messages.

Such a process may have no MongoDB (`MONGODB_URI` is not set), may find it away, or may be one that must not ask it. It
need not have our apps installed, either.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pymongo
from django.conf import ENVIRONMENT_VARIABLE, settings
from django.db import connections
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from queuesite.foundation.addresses import mongodb_address
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import MONGO, Document, database, explained, mongo_settings
from queuesite.foundation.errors import MongoUnavailable
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: How long one request may take, and how long nothing is asked after one that failed, in seconds.
REQUEST_SECONDS = 2.0
AVOIDED_SECONDS = 30.0

T = TypeVar("T")


class OptionalMongoDB:
    """Asks MongoDB if it can be asked. Safe for threads and across forks."""

    def __init__(self) -> None:
        #: Whether this process may ask at all. Consumers must not.
        self.allowed = True
        self._avoid_until = 0.0
        self._client: pymongo.MongoClient[Document] | None = None
        self._pid = 0
        self._making = threading.Lock()

    @property
    def known(self) -> bool:
        """Whether this process may ask, and knows an address."""
        return self.allowed and mongodb_address(get_config()) is not None

    def ask(self, collection: str, question: Callable[[Collection[Document]], T]) -> T | None:
        """Ask a collection; None if there is no MongoDB. Raises `MongoUnavailable` after two seconds at the latest.

        After a failure it is raised at once for half a minute, so that no caller waits for each of its messages.
        """
        if not self.known:
            return None
        if time.monotonic() < self._avoid_until:
            raise MongoUnavailable(f"MongoDB did not answer within the last {AVOIDED_SECONDS:g} s")
        try:
            with pymongo.timeout(REQUEST_SECONDS):
                return question(self._database()[collection])
        except PyMongoError as error:
            self._avoid_until = time.monotonic() + AVOIDED_SECONDS
            reason = explained(error)
            log.warning("optional_mongodb_away", error=str(reason), asked_again_in=AVOIDED_SECONDS)
            raise reason from error

    def _database(self) -> Database[Document]:
        if _with_django() and MONGO in connections.settings:
            return database()
        with self._making:
            if self._client is None or self._pid != os.getpid():
                ours = mongo_settings(get_config())
                self._client = pymongo.MongoClient(ours["HOST"], **ours["OPTIONS"])
                self._pid = os.getpid()
            return self._client[get_config().mongodb_name]

    def close(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _with_django() -> bool:
    """Whether this process uses Django: a plain script may send too."""
    return settings.configured or ENVIRONMENT_VARIABLE in os.environ
