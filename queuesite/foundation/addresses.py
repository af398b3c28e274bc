"""Where the servers are: the configured addresses, or those of the embedded servers that `manage.py up` started.

`up` writes `DATA_DIR/embedded.json` when its servers answer and removes it when it stops them; every other command
finds them by it. A record whose process is gone (a kill, a reboot) counts as absent.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from queuesite.foundation.config import Config
from queuesite.foundation.errors import MongoUnavailable, SqsUnavailable
from queuesite.foundation.home import CLONE
from queuesite.foundation.private import kept_secret, touch_private

#: What to do if no server is configured and none is running.
START_HINT = f"start the embedded servers with `{'make' if CLONE else 'queuesite'} up`"


@dataclass(frozen=True)
class Running:
    """An embedded server: its address and its process. `created` rules out a later process with the same pid."""

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
    """The file in which `up` records its servers."""
    return config.data_dir / "embedded.json"


def write_record(config: Config, servers: dict[str, Running]) -> None:
    """Record the embedded servers, by name (`mongodb`, `sqs`)."""
    path = record_path(config)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    touch_private(draft)
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
    """The address of the embedded server `name`, or None if it does not run."""
    entry = recorded(config).get(name)
    return entry.address if entry is not None and entry.alive() else None


def mongodb_address(config: Config) -> str | None:
    """MongoDB's address, or None if none is configured and no embedded server runs."""
    return config.mongodb_uri.get_secret_value() if config.mongodb_uri else running(config, "mongodb")


def sqs_address(config: Config) -> str | None:
    """SQS's address (`aws` for AWS itself), or None if none is configured and no embedded server runs."""
    return config.aws_sqs_endpoint.get_secret_value() if config.aws_sqs_endpoint else running(config, "sqs")


def access_key_path(directory: Path) -> Path:
    """The file with the access key of the embedded SQS that keeps its data in `directory`."""
    return directory / "access-key"


def access_key(directory: Path) -> str:
    """The access key that this embedded SQS accepts. The first call generates its file (mode 0600)."""
    return kept_secret(access_key_path(directory), lambda: secrets.token_hex(16))


def embedded_keys(config: Config) -> dict[str, str]:
    """The keys for the embedded SQS, by boto3's names. Real AWS keys are never sent to it."""
    key = access_key(config.data_dir / "sqs")
    return {"aws_access_key_id": key, "aws_secret_access_key": key}  # it does not verify signatures


def no_mongodb() -> MongoUnavailable:
    """The error if a command needs MongoDB and there is none."""
    message = f"there is no MongoDB: MONGODB_URI is not set and no embedded server runs; {START_HINT}, or set it"
    return MongoUnavailable(message, public=message)


def no_sqs() -> SqsUnavailable:
    """The error if a command needs SQS and there is none."""
    message = (
        "there is no SQS: AWS_SQS_ENDPOINT is not set and no embedded server runs; "
        f"{START_HINT}, or set it (aws for AWS)"
    )
    return SqsUnavailable(message, public=message)
