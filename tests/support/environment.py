"""The environment of a test run: its own servers, and none of the developer's settings."""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from queuesite.foundation import config as configuration
from queuesite.foundation.config import Config
from queuesite.local.embedded import EmbeddedServer
from tests.support import servers

#: Set to run the tests against real servers.
GIVEN = frozenset(
    {
        *("MONGODB_URI", "AWS_SQS_ENDPOINT", "AWS_REGION"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    }
)
#: Names the run's directory to the workers of pytest-xdist.
DIRECTORY = "QUEUESITE_TEST_DIRECTORY"
SETTINGS = frozenset(name.upper() for name in Config.model_fields)


class Servers:
    """The servers that a test run started, and where their data is."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="queuesite-tests-"))
        self.started: list[EmbeddedServer] = []

    def start(self, environ: MutableMapping[str, str]) -> None:
        """Start the servers that the environment does not name, and add their addresses to it."""
        if not environ.get("MONGODB_URI"):
            self.started.append(servers.start("mongodb", self.directory))
            environ["MONGODB_URI"] = self.started[-1].address
        if not environ.get("AWS_SQS_ENDPOINT"):
            self.started.append(servers.start("sqs", self.directory))
            environ["AWS_SQS_ENDPOINT"] = self.started[-1].address
            environ.update(servers.keys(self.started[-1]))
        if environ["AWS_SQS_ENDPOINT"].lower() != "aws":
            # An emulator accepts any keys, but boto3 sends no request without keys.
            environ.setdefault("AWS_ACCESS_KEY_ID", "test")
            environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")

    def stop(self) -> None:
        """End them and remove their data."""
        for server in self.started:
            servers.discard(server)
        shutil.rmtree(self.directory, ignore_errors=True)


def isolate(environ: MutableMapping[str, str]) -> None:
    """Remove settings that the tests do not expect, and everything else that would make two runs differ."""
    for name in SETTINGS - GIVEN:
        environ.pop(name, None)
    environ["ENV_FILE"] = ""  # no .env
    environ.pop("QUEUESITE_HOME", None)
    # The programs under test run as in a user's shell: unbuffered output would hide errors of the last flush.
    for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        environ.pop(name, None)
    # An office's proxy cannot reach the servers of this machine.
    environ["NO_PROXY"] = environ["no_proxy"] = "127.0.0.1,localhost"
    environ["LOG_LEVEL"] = "WARNING"
    # Tests of listening turn it on; others count requests, or depend on who receives what.
    environ["LISTEN_QUEUES"] = "0"
    environ["SQS_PATIENCE_SECONDS"] = "60"  # the embedded server of a busy machine may need more than the default
    environ["NO_COLOR"] = "1"
    environ.pop("FORCE_COLOR", None)
    if environ.get("AWS_SQS_ENDPOINT", "").lower() != "aws":
        # Otherwise boto3 would look for credentials on the network, which takes seconds.
        environ["AWS_EC2_METADATA_DISABLED"] = "true"
        environ["AWS_CONFIG_FILE"] = environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        environ.pop("AWS_PROFILE", None)
        environ.pop("AWS_SESSION_TOKEN", None)


def name_worker(environ: MutableMapping[str, str], worker: str, directory: Path) -> None:
    """Give a test process its own database, its own prefix in SQS and its own directory."""
    unique = f"{worker}-{secrets.token_hex(3)}"
    environ["MONGODB_NAME"] = f"test_{unique.replace('-', '_')}"
    environ["QUEUE_NAME_PREFIX"] = f"t-{unique}-"
    environ["DATA_DIR"] = str(directory / unique)
    environ["DJANGO_SETTINGS_MODULE"] = "queuesite.settings"


def renew_worker(environ: MutableMapping[str, str], worker: str, directory: Path) -> None:
    """The same for a process that was forked after Django was set up, and has no connection yet."""
    from django.conf import settings
    from django.db import connections

    from queuesite import settings as module

    name_worker(environ, worker, directory)
    configuration._loaded.cache_clear()
    importlib.reload(module)
    settings.SECRET_KEY = module.SECRET_KEY
    for alias, values in module.DATABASES.items():
        connections[alias].settings_dict.update(values)


def settings_loaded_too_early() -> bool:
    """Whether Django has read its settings before the servers had addresses."""
    return "queuesite.settings" in sys.modules
