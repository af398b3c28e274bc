"""What the chaos run does to the system: each fault begins at once and says how it is to be undone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil
from pymongo.errors import PyMongoError

from jobs.models import Assignment, Job, Worker
from queues import services
from queues.models import Queue
from queues.sqs import MAX_VISIBILITY_SECONDS
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.processes import signal_all
from tests.chaos.verdict import Fault
from tests.support.background import Background
from tests.support.cluster import Cluster
from tests.support.faults import Answer, Forward
from tests.support.system import leader_is
from tests.support.tcp_proxy import TcpProxy

#: How many actions of SQS are answered by an error while it throttles.
THROTTLED = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "GetQueueAttributes")
#: What a malformed definition holds: fields with values of a wrong type, or out of bounds.
MALFORMED: tuple[tuple[str, Any], ...] = (
    ("priority", "high"),
    ("notBefore", "tomorrow"),
    ("handlerOptions", "none"),
    ("concurrency", 0),
)


class Stage(Protocol):
    """What a fault may touch."""

    cluster: Cluster
    queues: list[Queue]
    rng: random.Random
    #: Signals that processes were sent to end them, by the processes' names.
    told: dict[str, int]
    #: Consumers whose end is awaited, with the fault that caused it.
    doomed: dict[psutil.Process, str]

    def awake(self, command: str) -> list[Background]:
        """Processes that run and are not frozen."""


@dataclass
class Injected:
    """A fault under way. No two have the same target at the same time.

    `undo` may be called again if it raised since a server is away by another fault.
    """

    kind: str
    target: str
    seconds: float = 0.0
    undo: Callable[[], None] = lambda: None
    repeats: bool = False
    pids: frozenset[int] | None = None
    what: str = ""
    began: float = field(default_factory=time.monotonic)

    def ended(self) -> Fault:
        """What is written down of it."""
        return Fault(self.kind, self.began, time.monotonic(), self.repeats, self.pids, self.what)


Begin = Callable[[Stage], Injected | None]


def _victim(stage: Stage, command: str) -> Background | None:
    running = stage.awake(command)
    return stage.rng.choice(running) if running else None


def _doom(stage: Stage, worker: Background, kind: str) -> None:
    for consumer in stage.cluster.consumers_of(worker):
        stage.doomed[consumer] = kind


def kill_worker(stage: Stage) -> Injected | None:
    if (worker := _victim(stage, "runworker")) is None:
        return None
    _doom(stage, worker, "kill -9 worker")
    stage.told[worker.name] = signal.SIGKILL
    worker.kill()
    return Injected("kill -9 worker", worker.name, repeats=True, pids=frozenset({worker.pid}), what=worker.name)


def kill_master(stage: Stage) -> Injected | None:
    if (master := _victim(stage, "runmaster")) is None:
        return None
    leads = _leads(master)
    stage.told[master.name] = signal.SIGKILL
    master.kill()
    return Injected("kill -9 master", master.name, what=f"{master.name}{leads}")


def kill_consumer(stage: Stage) -> Injected | None:
    worker = _victim(stage, "runworker")
    consumers = stage.cluster.consumers_of(worker) if worker is not None else []
    if not consumers:
        return None
    consumer = stage.rng.choice(consumers)
    signal_all([consumer], signal.SIGKILL)
    return Injected("kill -9 consumer", f"pid-{consumer.pid}", repeats=True, pids=frozenset({consumer.pid}))


def kill_listener(stage: Stage) -> Injected | None:
    worker = _victim(stage, "runworker")
    for listener in stage.cluster.listeners_of(worker) if worker is not None else []:
        signal_all([listener], signal.SIGKILL)
        return Injected("kill -9 listener", f"pid-{listener.pid}")
    return None


def terminate_worker(stage: Stage) -> Injected | None:
    if (worker := _victim(stage, "runworker")) is None:
        return None
    _doom(stage, worker, "SIGTERM worker")
    stage.told[worker.name] = signal.SIGTERM
    worker.send(signal.SIGTERM)
    return Injected("SIGTERM worker", worker.name, what=worker.name)


def terminate_master(stage: Stage) -> Injected | None:
    if (master := _victim(stage, "runmaster")) is None:
        return None
    leads = _leads(master)
    stage.told[master.name] = signal.SIGTERM
    master.send(signal.SIGTERM)
    return Injected("SIGTERM master", master.name, what=f"{master.name}{leads}")


def freeze_worker(stage: Stage) -> Injected | None:
    if (worker := _victim(stage, "runworker")) is None:
        return None
    return _freeze("SIGSTOP worker", worker.name, worker.pid, stage.rng.uniform(1, 6))


def freeze_master(stage: Stage) -> Injected | None:
    if (master := _victim(stage, "runmaster")) is None:
        return None
    return _freeze("SIGSTOP master", master.name, master.pid, stage.rng.uniform(1, 5))


def freeze_consumer(stage: Stage) -> Injected | None:
    worker = _victim(stage, "runworker")
    consumers = stage.cluster.consumers_of(worker) if worker is not None else []
    if not consumers:
        return None
    pid = stage.rng.choice(consumers).pid
    frozen = _freeze("SIGSTOP consumer", f"pid-{pid}", pid, stage.rng.uniform(1, 7))
    frozen.repeats, frozen.pids = True, frozenset({pid})
    return frozen


def freeze_listener(stage: Stage) -> Injected | None:
    worker = _victim(stage, "runworker")
    for listener in stage.cluster.listeners_of(worker) if worker is not None else []:
        return _freeze("SIGSTOP listener", f"pid-{listener.pid}", listener.pid, stage.rng.uniform(1, 7))
    return None


def _freeze(kind: str, target: str, pid: int, seconds: float) -> Injected:
    def thaw() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    return Injected(kind, target, seconds, thaw, what=target)


def restart_mongodb(stage: Stage) -> Injected:
    stage.cluster.kill_mongodb()
    return Injected(
        "MongoDB killed", "mongodb", stage.rng.uniform(0.2, 3), lambda: stage.cluster.start_again("mongodb")
    )


def freeze_mongodb(stage: Stage) -> Injected:
    return _freeze("MongoDB frozen", "mongodb", stage.cluster.servers["mongodb"].pid, stage.rng.uniform(1, 5))


def restart_sqs(stage: Stage) -> Injected:
    injected = Injected(
        "SQS restarted", "sqs", stage.rng.uniform(0.1, 2), lambda: stage.cluster.start_again("sqs"), repeats=True
    )
    stage.cluster.stop_sqs()
    return injected


def network(server: str, how: str) -> Begin:
    """A fault of the network between the processes and a server."""

    def begin(stage: Stage) -> Injected:
        proxy: TcpProxy = getattr(stage.cluster, server)
        # Consumers have no business with MongoDB: what happens to that has no message handled twice.
        injected = Injected(
            f"{server} {how}", server, stage.rng.uniform(0.5, 4), proxy.heal, repeats=server == "sqs" and how != "delay"
        )
        if how == "delay":
            proxy.delay(stage.rng.uniform(0.02, 0.3))
        else:
            getattr(proxy, how)()
        return injected

    return begin


def throttle(stage: Stage) -> Injected:
    """SQS answers most requests by an error."""
    http = stage.cluster.http
    code, status = stage.rng.choice([("RequestThrottled", 400), ("ServiceUnavailable", 503)])
    for action in THROTTLED:
        http.refuse(action, code, status=status)
    return _answered(stage, f"SQS answers {code}")


def fail_entries(stage: Stage) -> Injected:
    """SQS fails every second entry of a batch, though no fault of the sender."""
    for action in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
        stage.cluster.http.answer(action, half_fails())
    return _answered(stage, "SQS fails entries of batches")


def half_fails() -> Answer:
    """Every second entry of a batch fails by SQS's own fault, the first one first."""

    def answer(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
        entries = parameters["Entries"]
        failed, passed = entries[::2], entries[1::2]
        result = forward({**parameters, "Entries": passed}) if passed else {}
        result.setdefault("Successful", [])
        result["Failed"] = [
            *result.get("Failed", []),
            *({"Id": e["Id"], "Code": "InternalError", "Message": "made up", "SenderFault": False} for e in failed),
        ]
        return result

    return answer


def expire_credentials(stage: Stage) -> Injected:
    """SQS refuses every request, as it does when a session token has expired and the next one is not there yet."""
    for action in (*THROTTLED, "DeleteMessage", "ChangeMessageVisibility", "SendMessageBatch"):
        stage.cluster.http.refuse(action, "ExpiredToken", "The security token included in the request is expired")
    return _answered(stage, "credentials expired")


def late_counts(stage: Stage) -> Injected:
    """The counts of messages are those of some seconds ago, as they are on AWS for up to a minute."""
    stage.cluster.http.answer("GetQueueAttributes", counts_of(stage.rng.uniform(2, 6)))
    injected = _answered(stage, "counts lag")
    injected.seconds, injected.repeats = stage.rng.uniform(5, 10), False
    return injected


def counts_of(ago: float) -> Answer:
    """Attributes as they were `ago` seconds ago, or at the first request if that came later."""
    past: defaultdict[str, deque[tuple[float, dict[str, Any]]]] = defaultdict(deque)

    def answer(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
        if "ApproximateNumberOfMessages" not in parameters.get("AttributeNames", ()):
            return forward(parameters)
        now, seen = time.monotonic(), past[parameters["QueueUrl"]]
        seen.append((now, forward(parameters)))
        while len(seen) > 1 and seen[1][0] <= now - ago:
            seen.popleft()
        return seen[0][1]

    return answer


def _answered(stage: Stage, kind: str) -> Injected:
    cluster = stage.cluster

    def undo() -> None:
        cluster.http.heal()
        cluster.sqs.redirect(cluster.servers["sqs"].port)

    injected = Injected(kind, "sqs", stage.rng.uniform(1, 4), undo, repeats=True)
    cluster.answer_by_proxy()
    return injected


def pause_queue(stage: Stage) -> Injected | None:
    queue = stage.rng.choice(stage.queues)

    def resume() -> None:
        services.set_paused(queue.name, False)

    try:
        services.set_paused(queue.name, True)
    except (PyMongoError, QueuesiteError):
        return None
    return Injected("queue paused", f"queue-{queue.name}", stage.rng.uniform(0.5, 3), resume, what=queue.name)


def change_concurrency(stage: Stage) -> Injected | None:
    queue = stage.rng.choice(stage.queues)
    number = stage.rng.randint(1, 5)
    try:
        services.update(queue.name, {"concurrency": number})
    except (PyMongoError, QueuesiteError):
        return None
    return Injected("concurrency changed", f"queue-{queue.name}", what=f"{queue.name} {number}")


def raise_visibility(stage: Stage) -> Injected | None:
    """A queue's visibility timeout is raised to SQS's limit of 12 hours while it is being processed, and lowered."""
    queue = stage.rng.choice(stage.queues)

    def lower() -> None:
        services.update(queue.name, {"visibility_timeout": queue.visibility_timeout})

    try:
        services.update(queue.name, {"visibility_timeout": MAX_VISIBILITY_SECONDS})
    except (PyMongoError, QueuesiteError):
        return None
    return Injected("visibility 12 h", f"queue-{queue.name}", stage.rng.uniform(1, 4), lower, what=queue.name)


def break_definition(stage: Stage) -> Injected | None:
    """A queue's document has a value of a wrong type or out of bounds; it is mended later."""
    queue = stage.rng.choice(stage.queues)
    field, wrong = stage.rng.choice(MALFORMED)

    def mend() -> None:
        queues_collection.update_one({"_id": queue.id}, {"$set": {field: right, **_touched()}})

    try:
        queues_collection = collection(Queue)
        found = queues_collection.find_one({"_id": queue.id})
        assert found is not None
        right = found.get(field)
        queues_collection.update_one({"_id": queue.id}, {"$set": {field: wrong, **_touched()}})
    except (PyMongoError, QueuesiteError):
        return None
    # A run that follows the definition may end at once: its queue's messages are not handled twice by that.
    return Injected(
        "malformed queue", f"queue-{queue.name}", stage.rng.uniform(1, 4), mend, what=f"{queue.name} {field}={wrong!r}"
    )


def _touched() -> dict[str, Any]:
    return {"updatedAt": database_clock.now()}


def add_bare_documents(stage: Stage) -> Injected | None:
    """Documents with nothing in them stand among the workers, the assignments, the jobs and the queues."""
    number = stage.rng.randrange(1_000_000)
    bare = f"bare-{number}"

    def remove() -> None:
        for model in (Worker, Assignment, Job, Queue):
            collection(model).delete_one({"_id": bare})

    try:
        for model in (Worker, Assignment, Job, Queue):
            # Unique fields have values, or a second bare document would be refused.
            collection(model).insert_one({"_id": bare, "name": bare, "queueUrl": bare, "status": "running"})
    except (PyMongoError, QueuesiteError):
        pass  # some of them may be there
    return Injected("bare documents", "bare-documents", stage.rng.uniform(2, 6), remove)


def drop_collection(stage: Stage) -> Injected | None:
    """Assignments, workers or jobs are gone, their indexes too."""
    model = stage.rng.choice([Assignment, Worker, Job])
    try:
        collection(model).drop()
    except (PyMongoError, QueuesiteError):
        return None
    return Injected("collection dropped", "collections", what=model._meta.db_table)


def _leads(master: Background) -> str:
    try:
        return ", the leader" if leader_is(master) else ""
    except PyMongoError:
        return ""


#: Those of the network, with what they target.
NETWORK: dict[Begin, str] = {
    network(server, how): server for server in ("mongodb", "sqs") for how in ("delay", "cut", "refuse", "blackhole")
}
#: Faults with their weights: deaths come more often than anything else.
FAULTS: tuple[tuple[Begin, int], ...] = (
    (kill_worker, 3),
    (kill_master, 3),
    (kill_consumer, 4),
    (kill_listener, 2),
    (terminate_worker, 2),
    (terminate_master, 2),
    (freeze_worker, 2),
    (freeze_master, 2),
    (freeze_consumer, 2),
    (freeze_listener, 2),
    (restart_mongodb, 2),
    (restart_sqs, 2),
    (freeze_mongodb, 1),
    *((begin, 1) for begin in NETWORK),
    (throttle, 1),
    (fail_entries, 1),
    (expire_credentials, 1),
    (late_counts, 2),
    (pause_queue, 2),
    (change_concurrency, 2),
    (raise_visibility, 1),
    (break_definition, 2),
    (add_bare_documents, 1),
    (drop_collection, 1),
)
#: What each targets, where that is known beforehand.
TARGETS: dict[Begin, str] = {
    restart_mongodb: "mongodb",
    freeze_mongodb: "mongodb",
    restart_sqs: "sqs",
    throttle: "sqs",
    fail_entries: "sqs",
    expire_credentials: "sqs",
    late_counts: "sqs",
    **NETWORK,
}


def deck(seed: int) -> Iterator[Begin]:
    """The faults of a run, in the order in which they are tried: each kind once, then by their weights."""
    rng = random.Random(seed)
    kinds, weights = [begin for begin, _ in FAULTS], [weight for _, weight in FAULTS]
    yield from rng.sample(kinds, len(kinds))
    while True:
        yield from rng.choices(kinds, weights)
