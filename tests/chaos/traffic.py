"""The steady sends of the chaos run, and the watch on who assigns: two threads that no fault touches."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from queues.models import Queue
from queuesite.foundation.errors import QueuesiteError
from tests.support.cluster import Cluster

#: Messages a second, of all queues together.
RATE = 30.0
#: Seconds that an assignment may be under way while the next leader is being elected, on a busy machine.
MARGIN = 1.0

GROUPS = ("a", "b", "c")

#: What a handler has its process keep, in MiB: more than the run's CONSUMER_MEMORY_MB allows.
GROWTH_MB = 160


def instruction(rng: random.Random, queue: Queue, *, harmless: bool) -> dict[str, Any]:
    """What a message asks of its handler: mostly to take a moment."""
    chance = rng.random()
    fifo, poison = queue.fifo, queue.name.startswith("poison") and not harmless
    if queue.timeout is not None and chance < 0.02:
        return {"slow": queue.timeout + rng.uniform(0.5, 3), "times": 1}
    if poison and chance < 0.015:
        return rng.choice([{"exit": 3}, {"die": 11}, {"die": 6}])
    if chance < 0.02:
        return rng.choice([{"exit": 3, "times": 1}, {"die": 9, "times": 1}, {"die": 11, "times": 1}])
    if chance < 0.07 and not fifo:
        return {"reject": "chaos"}
    if chance < 0.10:
        return {"retry": rng.choice([0, 1]), "times": 1}
    if chance < 0.14:
        return {"fail": 1}
    if chance < 0.20:
        return {"sleep": rng.uniform(0.3, 1.5)}
    if chance < 0.203 and queue.timeout is None:
        return {"sleep": rng.uniform(5, 12)}  # longer than a time slice, and than a visibility timeout
    if chance < 0.206 and not fifo:
        return {"grow": GROWTH_MB}
    return {"sleep": rng.uniform(0, 0.05)}


class Beside:
    """A thread beside the run. An error in it is raised by `stop`: a run that was not watched has no verdict."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)
        self._error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._error = error

    def _run(self) -> None:
        raise NotImplementedError


class Traffic(Beside):
    """Sends until it is stopped. Where MongoDB is away it announces nothing: the sweep must find the messages."""

    def __init__(self, cluster: Cluster, queues: list[Queue], seed: int) -> None:
        super().__init__("traffic")
        self._cluster = cluster
        self._queues = queues
        self._rng = random.Random(seed)
        #: No more messages that crash every consumer: what is left of the run should see them off.
        self.harmless = False

    def _run(self) -> None:
        while not self._stopping.wait(self._rng.uniform(0.5, 1.5) * 5 / RATE):
            queue = self._rng.choice(self._queues)
            number = self._rng.randint(1, 9)
            wanted = [instruction(self._rng, queue, harmless=self.harmless) for _ in range(number)]
            group = self._rng.choice(GROUPS) if queue.fifo else None
            # A message that SQS may or may not have taken is in the ledger as such; a wake-up is a courtesy.
            with suppress(QueuesiteError, PyMongoError):
                self._cluster.send(queue, wanted, group=group, announce=self._rng.random() < 0.8)


class Watch(Beside):
    """Looks who assigns: an assignment that appears after a later leader was elected is a stale leader's."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__("watch")
        self._cluster = cluster
        self._elected: dict[int, datetime] = {}
        self._seen: dict[ObjectId, int] = {}
        self._last_look: datetime | None = None
        self.stale: list[str] = []

    @property
    def terms(self) -> int:
        """How many terms there were."""
        return max(self._elected, default=0)

    def _run(self) -> None:
        address = self._cluster.servers["mongodb"].address
        with MongoClient[dict[str, Any]](address, serverSelectionTimeoutMS=1_000, tz_aware=True) as client:
            database = client[self._cluster.environment["MONGODB_NAME"]]
            while not self._stopping.wait(0.1):
                try:
                    now: datetime = client.admin.command("hello", codec_options=client.codec_options)["localTime"]
                    lease = database["leases"].find_one({"_id": "master"})
                    found = list(database["assignments"].find({"term": {"$exists": True}}, {"term": 1, "queueUrl": 1}))
                except PyMongoError:
                    time.sleep(0.2)
                    continue
                if lease is not None:
                    self._elected.setdefault(lease["term"], lease["electedAt"])
                self._compare(found)
                self._last_look = now

    def _compare(self, found: list[dict[str, Any]]) -> None:
        for assignment in found:
            if assignment["_id"] in self._seen:
                continue
            term = self._seen[assignment["_id"]] = assignment["term"]
            later = [date for number, date in self._elected.items() if number > term]
            if later and self._last_look is not None and self._last_look > min(later) + timedelta(seconds=MARGIN):
                self.stale.append(f"{assignment['queueUrl'].rpartition('/')[2]} in term {term}, at {self._last_look}")
