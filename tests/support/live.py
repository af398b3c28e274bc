"""The whole system as real processes, with its web server, for tests of the API from outside."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from queues.sqs import get_gateway
from queuesite.foundation.databases import database
from tests.support.background import Background, running
from tests.support.ledger import Ledger
from tests.support.processes import manage
from tests.support.servers import free_port

#: Most seconds from the command to `ready`, on a machine that runs other tests too.
START_SECONDS = 90.0


class Live:
    """`manage.py up` on the servers of the test run, with a database, a prefix and a directory of its own."""

    def __init__(self, directory: Path) -> None:
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
            "WORKER_STALLED_AFTER": "4",
            "IDLE_SECONDS": "1",
            "SWEEP_MAX_SECONDS": "2",
        }
        self.process = Background(directory, "up", "up", env=self.environment)

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
def live(directory: Path) -> Iterator[Live]:
    """Run a system until it is ready, and remove everything of it afterwards."""
    system = Live(directory)
    try:
        with running(system.process):
            system.process.says("stop it with Ctrl-C", START_SECONDS)
            yield system
    finally:
        gateway = get_gateway()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(gateway.delete_queue, list(gateway.queue_urls(system.prefix))))
        database().client.drop_database(system.database)


def shell_environment(system: Live) -> dict[str, str]:
    """The environment of a user who works with the system in a shell."""
    return {**os.environ, **system.environment, "QUEUESITE": system.address}
