"""A system with its own servers, which tests kill and cut off: masters and workers reach them through proxies.

The code of the test's own process talks to the same servers directly (`connected`), so that it can look, and send,
while the network of the others is broken.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from django.db import connections
from pymongo.errors import PyMongoError

from jobs.listener import process as listener_process
from jobs.models import Assignment, Job
from jobs.repositories import assignments, leases
from queues import repository, services
from queues.models import Queue
from queues.sqs import MAX_BATCH, OutgoingMessage, get_gateway
from queuesite.foundation import config as configuration
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import MONGO, collection, database, mongo_settings
from queuesite.foundation.errors import QueuesiteError
from queuesite.local.embedded import EmbeddedServer, Name
from tests.support import servers
from tests.support.background import ORDERLY, Background
from tests.support.faults import SqsProxy
from tests.support.ledger import Sent, key_of
from tests.support.living import name_of
from tests.support.system import LONG, System, leader_is, worker_of
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import eventually


class Cluster(System):
    """Servers, proxies, processes and the ledger. Create it in the main thread: its servers end with that thread."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = directory / "servers"
        self.servers: dict[Name, EmbeddedServer] = {}
        for name in ("mongodb", "sqs"):
            self.servers[name] = servers.start(name, self._data)
        self.mongodb = TcpProxy(self.servers["mongodb"].port)
        self.sqs = TcpProxy(self.servers["sqs"].port)
        #: Used only after `answer_by_proxy`, since it is slow on a busy machine.
        self.http = SqsProxy(self.servers["sqs"].address, servers.keys(self.servers["sqs"])["AWS_ACCESS_KEY_ID"])
        self.proxies: list[TcpProxy] = [self.mongodb, self.sqs]
        self.set(
            mongodb_uri=self.through(self.mongodb),
            mongodb_name="cluster",
            aws_sqs_endpoint=f"http://127.0.0.1:{self.sqs.port}",
            queue_name_prefix="",
            **servers.keys(self.servers["sqs"]),
        )
        self._numbers = itertools.count()
        #: Keys of the dead letters that have been read.
        self._dead: set[str] = set()

    def through(self, proxy: TcpProxy) -> str:
        """MongoDB's address behind a proxy."""
        address = self.servers["mongodb"].address.replace(f":{self.servers['mongodb'].port}/", f":{proxy.port}/")
        return f"{address}&serverSelectionTimeoutMS=2000"

    def another_way(self) -> TcpProxy:
        """A further proxy of MongoDB, for a single process."""
        self.proxies.append(TcpProxy(self.servers["mongodb"].port))
        return self.proxies[-1]

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Make this process's own code use these servers directly."""
        here = {
            "MONGODB_URI": f"{self.servers['mongodb'].address}&serverSelectionTimeoutMS=2000",
            "MONGODB_NAME": self.environment["MONGODB_NAME"],
            "AWS_SQS_ENDPOINT": self.servers["sqs"].address,
            **servers.keys(self.servers["sqs"]),
            "QUEUE_NAME_PREFIX": "",
        }
        before = {name: os.environ.get(name) for name in here}
        os.environ.update(here)
        _reconnect()
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            _reconnect()

    def close(self) -> None:
        """End everything."""
        self.heal()
        super().close()
        for proxy in self.proxies:
            proxy.stop()
        self.http.stop()
        for server in self.servers.values():
            servers.discard(server)

    # --- processes ---

    def living(self, command: str) -> list[Background]:
        """The processes of this kind that run."""
        return [p for p in self.processes if p.name.startswith(command) and p.process.poll() is None]

    def ensure(self, *, masters: int = 1, workers: int = 1) -> None:
        """Run this many masters and workers: start missing ones, and shut down surplus ones.

        Those that were started with other settings than the cluster's present ones are surplus.
        """
        surplus = []
        for command, wanted in (("runmaster", masters), ("runworker", workers)):
            usable = [process for process in self.living(command) if process.environment == self.environment]
            surplus += [process for process in self.living(command) if process not in usable[:wanted]]
        for process in surplus:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in surplus:
            process.process.wait(ORDERLY)
        for command, wanted in (("runmaster", masters), ("runworker", workers)):
            for _ in range(wanted - len(self.living(command))):
                self.start(command)
        for process in self.living("runworker"):
            eventually(lambda process=process: worker_of(process), LONG, "the worker has registered")  # type: ignore[misc]
        for process in self.living("runmaster"):
            process.says("master_started", LONG)
        if masters:
            eventually(self.leader, LONG, "a master leads")

    def leader(self) -> Background | None:
        """The master that leads."""
        return next(filter(leader_is, self.living("runmaster")), None)

    def standby(self) -> Background:
        """A master that does not lead."""
        return next(process for process in self.living("runmaster") if not leader_is(process))

    def holder_of(self, queue: Queue) -> Background:
        """The worker of the queue's consumer 0."""
        held = eventually(
            lambda: [a for a in assignments.all_assignments() if a.queue_id == queue.id], LONG, "the queue is assigned"
        )
        return next(p for p in self.living("runworker") if f"-{p.pid}-" in held[0].worker)

    def consumers_of(self, worker: Background) -> list[psutil.Process]:
        """The consumer processes of a worker: the children of its fork server, without its listener."""
        found = []
        for child in worker.descendants():
            with suppress(psutil.NoSuchProcess):
                if child.ppid() != worker.pid and child.name() != listener_process.NAME:
                    found.append(child)
        return found

    def listeners_of(self, worker: Background) -> list[psutil.Process]:
        """The listener process of a worker, if there is one."""
        return [child for child in worker.descendants() if name_of(child) == listener_process.NAME]

    # --- servers and networks ---

    def kill_mongodb(self) -> None:
        """Kill MongoDB. What it acknowledged is on its disk."""
        self.servers["mongodb"].process.kill()
        self.servers["mongodb"].process.wait()

    def stop_sqs(self) -> None:
        """Shut SQS down: the emulator would lose its messages if it were killed."""
        self.servers["sqs"].stop()

    def start_again(self, name: Name) -> None:
        """Start a server that was ended, at its old address, and wait until it answers."""
        self.servers[name] = servers.start_again(self.servers[name], self._data)
        self.servers[name].wait_ready(60)
        if name == "mongodb":
            eventually(_reached, LONG, "this process's client has noticed")

    def answer_by_proxy(self) -> SqsProxy:
        """Route SQS's answers through the proxy that can change them, until `heal`."""
        self.sqs.redirect(int(self.http.address.rpartition(":")[2]))
        return self.http

    def heal(self) -> None:
        """End all faults of the network, and thaw every process."""
        self.http.heal()
        for proxy in self.proxies:
            proxy.heal()
        if self.sqs.upstream != self.servers["sqs"].port:
            self.sqs.redirect(self.servers["sqs"].port)
        for process in self.processes:
            if process.process.poll() is None:
                process.send(signal.SIGCONT)

    # --- messages ---

    def send(
        self, queue: Queue, instructions: Iterable[dict[str, Any]], *, group: str | None = None, announce: bool = True
    ) -> list[str]:
        """Send a message for each instruction to its handler, and record it in the ledger. Returns the messages' keys.

        The queue is woken (`announce`) if MongoDB can be reached.
        """
        bodies = [json.dumps({"n": f"{queue.name}/{next(self._numbers):05d}", "do": what}) for what in instructions]
        for first in range(0, len(bodies), MAX_BATCH):
            self._send(queue, bodies[first : first + MAX_BATCH], group)
        if announce:
            repository.wake(queue.id)
        return [str(key_of(body)) for body in bodies]

    def _send(self, queue: Queue, bodies: Sequence[str], group: str | None) -> None:
        keys = [str(key_of(body)) for body in bodies]
        now = time.monotonic()
        messages = [
            OutgoingMessage(body, group=group, deduplication_id=key.replace("/", "-") if group else None)
            for key, body in zip(keys, bodies, strict=True)
        ]
        try:
            result = get_gateway().send(queue.queue_url, messages)
        except QueuesiteError:
            self.ledger.note_sent([Sent(key, queue.name, group, now, certain=False) for key in keys])
            raise
        self.ledger.note_sent([Sent(keys[index], queue.name, group, now) for index in sorted(result.message_ids)])

    def dead_letters(self, queues: Iterable[Queue] | None = None) -> set[str]:
        """All dead letters' keys so far. It deletes them, since one in flight would hide others of its FIFO group."""
        gateway = get_gateway()
        for queue in repository.all_queues() if queues is None else queues:
            while queue.dlq_url is not None:
                received = gateway.receive(queue.dlq_url, limit=MAX_BATCH, wait=0)
                if not received:
                    break
                self._dead |= {key for message in received if (key := key_of(message.body))}
                gateway.delete(queue.dlq_url, [message.receipt_handle for message in received])
        return set(self._dead)

    def handled(self) -> dict[str, int]:
        """How often each message was handled to its end, by key."""
        counts: dict[str, int] = {}
        for event in self.ledger.events("end"):
            if key := key_of(event.body):
                counts[key] = counts.get(key, 0) + 1
        return counts

    def nothing_is_lost(self, seconds: float = 2 * LONG) -> None:
        """Wait until every message was handled or is a dead letter, and every run is recorded as ended."""
        sent = {message.key for message in self.ledger.sent() if message.certain}
        possible = {message.key for message in self.ledger.sent()}

        def compared() -> bool:
            accounted = set(self.handled()) | self.dead_letters()
            missing = sorted(sent - accounted)
            assert not missing, (
                f"{len(missing)} of {len(sent)} messages neither handled nor dead letters: {missing[:5]}"
            )
            assert accounted <= possible
            return True

        eventually(compared, seconds, "what was sent was handled or is a dead letter")
        eventually(lambda: not assignments.all_assignments(), LONG, "no assignment is left")
        eventually(lambda: not unfinished(), LONG, "every job has a final status")

    def begin_anew(self) -> None:
        """End faults and remove queues and records, for the next test. Processes keep running."""
        self.heal()
        for queue in repository.all_queues():
            services.delete(queue.name)
        eventually(lambda: not assignments.all_assignments() or not self._workers(), LONG, "the consumers have ended")
        for model in (Assignment, Job):
            collection(model).delete_many({})
        self.ledger.clear()
        self._dead.clear()

    def _workers(self) -> bool:
        return bool(self.living("runworker")) and bool(self.living("runmaster"))


def unfinished() -> list[Any]:
    """Jobs that are queued or running."""
    return list(collection(Job).find({"status": {"$in": ["queued", "running"]}}))


def term() -> int:
    """The lease's present term."""
    lease = leases.current()
    return 0 if lease is None else lease.term


def _reached() -> bool:
    try:
        return bool(database().command("ping"))
    except PyMongoError:
        return False


def _reconnect() -> None:
    configuration._loaded.cache_clear()
    get_gateway.cache_clear()
    connection = connections[MONGO]
    connection.close_pool()  # type: ignore[attr-defined]
    connection.settings_dict.update(mongo_settings(get_config()))
