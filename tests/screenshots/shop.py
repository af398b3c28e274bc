"""The shop: the whole system as `manage.py up` runs it, with queues in every state and traffic that goes on."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.background import Background, end, show
from tests.support.servers import free_port
from tests.support.waiting import eventually

#: Most seconds for the system to start, and for the queues to be in their states.
PATIENCE = 180.0
ALICE = "alice"


@dataclass(frozen=True)
class Line:
    """A queue of the shop, with what its past is like and how many messages a second come."""

    name: str
    handler: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 0.0
    #: Messages that come at once.
    heap: int = 0
    #: The share of attempts that failed in the past, and what one took (seconds).
    failed: float = 0.0
    took: float = 0.05


LINES = (
    Line("orders", "orders", {"concurrency": 5, "priority": 5}, rate=4),
    Line("payments", "payments", {"priority": 5, "max_receive_count": 3}, rate=3, failed=0.21, took=0.09),
    Line("refunds", "payments", rate=0.2, took=0.08),
    Line("mails", "mails", {"handler_options": {"sender": "orders@shop.example"}}, rate=3, failed=0.02, took=0.02),
    Line("shipments.fifo", "warehouse", {"concurrency": 3}, rate=1, took=0.1),
    Line("returns", "warehouse", rate=0.5, took=0.1),
    Line("stock-updates", "warehouse", {"concurrency": 5}, rate=3, took=0.08),
    Line("recommendations", "recommendations", {"concurrency": 2, "priority": 0}, rate=0.7, took=1.1),
    Line("search-index", "search-index", heap=180, took=0.04),
    Line("product-images", "images", {"pool": "gpu"}, heap=64, took=0.3),
    Line("invoices", "mails", heap=37, took=0.02),
    Line("sales-reports", "reports", heap=6, took=0.2),
)


class Shop:
    """The running shop. Code of this process uses its servers once `connect` was called."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        # Tracebacks name the module and the file: as those of a project of its own.
        code = directory / "shop" / "handlers.py"
        code.parent.mkdir()
        shutil.copy(Path(__file__).with_name("handlers.py"), code)
        sys.path.insert(0, str(directory))
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "queuesite.settings",
            "PYTHONPATH": str(directory),
            "DATA_DIR": str(directory / "data"),
            "WEB_PORT": str(self.port),
            "HANDLER_MODULES": "shop.handlers",
            "APP_VERSION": "2026.11.5",
            "WORKER_INSTANCES": "2",
            "MAX_LOAD": "6",
            "LISTEN_QUEUES": "20",
            "JOB_MAX_SECONDS": "20",
        }
        self.directory = directory
        #: The ids of what pages show: a kind of failure, and a message with several attempts.
        self.found: dict[str, str] = {}
        self.up = Background(directory, "up", "up", from_nothing=True)
        self._ended = threading.Event()
        self._traffic = threading.Thread(target=self._send_on, name="traffic", daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> None:
        """Wait for the system, and use its servers from here."""
        self.up.says("stop it with Ctrl-C", PATIENCE)
        import django

        django.setup()

    def open(self) -> None:
        """Make people and queues with a past, begin the traffic, and wait until the queues are in their states."""
        from queues import services
        from queuesite.foundation.actor import acting
        from tests.screenshots import past

        _make_people(self.password)
        services.delete("demo")
        # Nobody may name a pool that no worker is in; this one's only worker leaves as soon as a queue is in it.
        with self._gpu_worker(), acting(lambda: ALICE):
            for line in LINES:
                services.create(line.name, settings={"handler": line.handler, **line.settings})
        past.write(LINES)
        self._traffic.start()
        with acting(lambda: ALICE):
            _pause("invoices", "wrong VAT on invoices to Norway, see INC-231")
        eventually(_is_as_planned, PATIENCE, "the queues are in their states")
        past.write_failures()
        self.found = _found()

    @contextmanager
    def _gpu_worker(self) -> Iterator[None]:
        from jobs.services import list_workers

        worker = Background(self.directory, "gpu", "runworker", "--pool", "gpu", from_nothing=True)
        try:
            eventually(lambda: any(one.pool == "gpu" for one in list_workers()), PATIENCE, "the worker of the pool gpu")
            yield
        finally:
            end([worker])

    def close(self) -> None:
        self._ended.set()
        end([self.up])

    def _send_on(self) -> None:
        number, due = 4_000, {line.name: float(line.heap) for line in LINES}
        while not self._ended.is_set():
            for line in LINES:
                due[line.name] += line.rate
                count = int(due[line.name])
                due[line.name] -= count
                if count:
                    number = _send(line.name, number, count)
            self._ended.wait(1)


@contextmanager
def shop(directory: Path) -> Iterator[Shop]:
    """A shop that is open; it is closed afterwards."""
    made = Shop(directory)
    try:
        made.connect()
        made.open()
        yield made
    except BaseException:
        show([made.up])
        raise
    finally:
        made.close()


def _make_people(password: str) -> None:
    from django.contrib.auth.models import Group, User

    for name, surname, group in (("alice", "Weber", "administrators"), ("bob", "Lind", "operators")):
        user = User.objects.create_user(
            name, f"{name}@shop.example", password, first_name=name.title(), last_name=surname, is_staff=True
        )
        user.groups.add(Group.objects.get(name=group))


def _pause(name: str, reason: str) -> None:
    from queues import services
    from queues.pausing import Note

    services.set_paused(name, True, Note(reason))


def _send(name: str, number: int, count: int) -> int:
    import json

    from queues import messages
    from queues.sqs import OutgoingMessage
    from queuesite.foundation.errors import QueuesiteError

    chance = random.Random(number)
    sent = []
    for one in range(number, number + count):
        body = {"order": one, "customer": f"c-{chance.randrange(900)}", "total": round(chance.uniform(5, 250), 2)}
        if name == "sales-reports":
            body = {"day": f"2026-11-{one % 28 + 1:02}"}
        fifo = name.endswith(".fifo")
        sent.append(
            OutgoingMessage(
                json.dumps(body), group=str(one % 8) if fifo else None, deduplication_id=str(one) if fifo else None
            )
        )
    try:
        messages.send(name, sent)
    except QueuesiteError:  # the shop is closing
        return number
    return number + count


def _found() -> dict[str, str]:
    from jobs import attempt_reads, reads

    kinds, _ = reads.find_failures(queue="payments", limit=20)
    attempts, _ = attempt_reads.find(queue="payments", outcome="failed")
    often = max(attempts, key=lambda one: one.receive_count)
    return {
        "failure": next(str(one.id) for one in kinds if one.exception_type.endswith("GatewayTimeout")),
        "message": often.message_id,
    }


def _is_as_planned() -> bool:
    from jobs import reads, statistics
    from queues import repository, services
    from queues.health.rules import Health

    numbers = statistics.current()
    wanted = (
        Health.FAILING, Health.TRIPPED, Health.UNSERVED, Health.CRASH_LOOPING, Health.PAUSED_WITH_BACKLOG,
        Health.DEAD_LETTERS_GROWING,
    )  # fmt: skip
    missing = [one.value for one in wanted if not numbers.health[one]]
    assert not missing, f"no queue is {', '.join(missing)}"
    done = {job.queue_name for job in reads.find_jobs(limit=100)[0]}
    busy = {line.name for line in LINES if line.rate}
    assert busy <= done, f"no job of {', '.join(sorted(busy - done))}"
    payments = services.get("payments")
    letters = services.dead_letters(payments)
    repository.dead_letters_observed({payments.id: letters})
    assert letters >= 10, f"payments has {letters} dead letters"
    return True
