"""Where the servers are: the configured addresses, or those of the embedded servers that `manage.py up` started.

`up` writes `DATA_DIR/embedded.json` when its servers answer and removes it when it stops them; every other command
finds them by it. A record whose process is gone (a kill, a reboot) counts as absent.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from queuesite.config import Config
from queuesite.errors import MongoUnavailable, SqsUnavailable

#: What to do where no server is configured and none is running.
START_HINT = "start the embedded servers with `make up`"


@dataclass(frozen=True)
class Running:
    """An embedded server: its address, and its process (`created` tells it from a later owner of the same pid)."""

    address: str
    pid: int
    created: float

    @classmethod
    def of(cls, address: str, pid: int) -> Running:
        """The record of the live process `pid` that serves at `address`."""
        return cls(address, pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether the process still runs."""
        try:
            process = psutil.Process(self.pid)
            # Two readings of one process may differ by a clock tick (10 ms).
            return abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def record_path(config: Config) -> Path:
    """The file in which `up` says where its servers are."""
    return config.data_dir / "embedded.json"


def write_record(config: Config, servers: dict[str, Running]) -> None:
    """Record the embedded servers, by name (`mongodb`, `sqs`)."""
    path = record_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({name: asdict(running) for name, running in servers.items()}))
    draft.replace(path)


def recorded(config: Config) -> dict[str, Running]:
    """The embedded servers that were last recorded, whether alive or not."""
    try:
        entries = json.loads(record_path(config).read_text())
        return {name: Running(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def running(config: Config, name: str) -> str | None:
    """The address of the embedded server `name`, or None where it does not run."""
    entry = recorded(config).get(name)
    return entry.address if entry is not None and entry.alive() else None


def mongodb_address(config: Config) -> str | None:
    """MongoDB's address, or None where there is no server to talk to."""
    return config.mongodb_uri or running(config, "mongodb")


def sqs_address(config: Config) -> str | None:
    """SQS's address (`aws` for AWS itself), or None where there is no server to talk to."""
    return config.aws_sqs_endpoint or running(config, "sqs")


def no_mongodb() -> MongoUnavailable:
    """The error for a command that needs MongoDB where there is none."""
    return MongoUnavailable(f"no MongoDB: MONGODB_URI is not set and no embedded server runs; {START_HINT}, or set it")


def no_sqs() -> SqsUnavailable:
    """The error for a command that needs SQS where there is none."""
    return SqsUnavailable(
        f"no SQS: AWS_SQS_ENDPOINT is not set and no embedded server runs; {START_HINT}, or set it (aws for AWS)"
    )
