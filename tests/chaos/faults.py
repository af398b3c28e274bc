"""What the chaos run does to the system: each fault begins at once and says how it is to be undone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from pymongo.errors import PyMongoError

from queues import services
from queues.models import Queue
from queuesite.errors import QueuesiteError
from tests.chaos.verdict import Fault
from tests.support.background import Background
from tests.support.cluster import Cluster
from tests.support.faults import Answer, Forward
from tests.support.system import leader_is
from tests.support.tcp_proxy import TcpProxy

#: How many actions of SQS are answered by an error while it throttles.
THROTTLED = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "GetQueueAttributes")


class Stage(Protocol):
    """What a fault may touch."""

    cluster: Cluster
    queues: list[Queue]
    rng: random.Random
    #: Signals that processes were sent to end them, by the processes' names.
    told: dict[str, int]
    #: Pids of consumers whose end is awaited, with the fault that caused it.
    doomed: dict[int, str]

    def awake(self, command: str) -> list[Background]:
        """Processes that run and are not frozen."""


@dataclass
class Injected:
    """A fault under way. No two have the same target at the same time."""

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
        stage.doomed[consumer.pid] = kind


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
    consumer.kill()
    return Injected("kill -9 consumer", f"pid-{consumer.pid}", repeats=True, pids=frozenset({consumer.pid}))


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
        with suppress(PyMongoError, QueuesiteError):  # the end of the run resumes all
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
    (terminate_worker, 2),
    (terminate_master, 2),
    (freeze_worker, 2),
    (freeze_master, 2),
    (freeze_consumer, 2),
    (restart_mongodb, 2),
    (restart_sqs, 2),
    (freeze_mongodb, 1),
    *((begin, 1) for begin in NETWORK),
    (throttle, 1),
    (fail_entries, 1),
    (pause_queue, 2),
    (change_concurrency, 2),
)
#: What each targets, where that is known beforehand.
TARGETS: dict[Begin, str] = {
    restart_mongodb: "mongodb",
    freeze_mongodb: "mongodb",
    restart_sqs: "sqs",
    throttle: "sqs",
    fail_entries: "sqs",
    **NETWORK,
}


def deck(seed: int) -> Iterator[Begin]:
    """The faults of a run, in the order in which they are tried: each kind once, then by their weights."""
    rng = random.Random(seed)
    kinds, weights = [begin for begin, _ in FAULTS], [weight for _, weight in FAULTS]
    yield from rng.sample(kinds, len(kinds))
    while True:
        yield from rng.choices(kinds, weights)
