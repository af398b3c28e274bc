"""The whole system as real processes, with its web server, for tests of the API and of pages from outside.

It is what `manage.py up` runs, without `up` itself, which has tests of its own: so its processes are forked from the
template, start together and end together.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from queues.sqs import get_gateway
from queuesite.foundation.databases import database
from tests.support.background import Background, end, show
from tests.support.ledger import Ledger
from tests.support.processes import manage
from tests.support.servers import free_port

#: Most seconds for each half of its start, on a machine that runs other tests too.
START_SECONDS = 120.0


class Live:
    """The processes of `manage.py up`, on the test run's servers, with a database, prefix and directory of its own."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.ledger = Ledger(directory)
        self.port = free_port()
        unique = secrets.token_hex(4)
        self.prefix = f"live-{unique}-"
        self.database = f"test_live_{unique}"
        self.environment = {
            "MONGODB_NAME": self.database,
            "QUEUE_NAME_PREFIX": self.prefix,
            "DATA_DIR": str(directory / "data"),
            "WEB_PORT": str(self.port),
            "HANDLER_MODULES": "tests.support.handlers_for_tests",
            "LEDGER_DIR": str(directory),
            "API_REQUESTS_PER_MINUTE": "0",
            "API_MAX_BULK": "1000",
            "HEARTBEAT_SECONDS": "0.5",
            # Longer than a busy machine keeps CPU from anybody.
            "WORKER_STALLED_AFTER": "30",
            "LEASE_SECONDS": "20",
            "IDLE_SECONDS": "1",
            "SWEEP_MAX_SECONDS": "2",
            **settings,
        }
        #: A queue in SQS that the API's example adopts. It has no prefix, so live systems of other tests share it, and
        #: none may delete it.
        self.made_by_others = "made-by-terraform"
        self._step("prepare")
        self.master, self.worker, self.tasks, self.web = map(
            self._begin, ("runmaster", "runworker", "qcluster", "runweb")
        )

    @property
    def processes(self) -> tuple[Background, ...]:
        """All of them, as they are now."""
        return self.master, self.worker, self.tasks, self.web

    def wait_ready(self) -> None:
        """Wait until all of them work, with another worker for one that has ended."""
        self.keep_worker()
        self._step("announce")

    def keep_worker(self) -> None:
        """Start another worker if there is none, since one was drained."""
        if self.worker.process.poll() is not None:
            self.worker = self._begin("runworker")

    def _begin(self, command: str) -> Background:
        return Background(self.directory, command, command, env=self.environment)

    def _step(self, name: str) -> None:
        done = manage("up", "--step", name, env=self.environment, longest=START_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def address(self) -> str:
        """The site's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """The API's address."""
        return f"{self.address}/api/v1"

    def token(self, *options: str) -> str:
        """A token of the user `admin`."""
        made = manage("token", "create", "admin", *options, env=self.environment)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()


@contextmanager
def live(directory: Path, **settings: str) -> Iterator[Live]:
    """Run a system until it is ready, and remove everything of it afterwards. `settings`: further ones of it."""
    system = Live(directory, **settings)
    try:
        system.wait_ready()
        yield system
    except BaseException:
        show(system.processes)
        raise
    finally:
        end(system.processes)
        gateway = get_gateway()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(gateway.delete_queue, gateway.queue_urls(system.prefix)))
        database().client.drop_database(system.database)


def shell_environment(system: Live) -> dict[str, str]:
    """The environment of a user who works with the system in a shell."""
    return {**os.environ, **system.environment, "QUEUESITE": system.address}
