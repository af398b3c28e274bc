"""The servers of a test run: real processes on free ports, with their data in temporary directories."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from pathlib import Path

from queuesite.foundation.addresses import access_key
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ServerError
from queuesite.local import embedded

#: Attempts to start a server: another program may take the port after it was found free.
ATTEMPTS = 3
#: Below those of connections (from 32,768 on Linux), and without the usual ports of our servers.
PORTS = range(13_000, 26_000)


def free_port() -> int:
    """A port on which nobody listens now.

    It is none of those that the kernel gives to connections: one of these could take it before a server does, or while
    the server is restarted.
    """
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start(name: embedded.Name, directory: Path) -> embedded.EmbeddedServer:
    """Start a server, and wait until it answers."""
    for attempt in range(1, ATTEMPTS + 1):
        server = embedded.start(name, Config(), directory=directory / f"{name}-{attempt}", port=free_port())
        try:
            server.wait_ready(60)
        except ServerError:
            discard(server)
            if attempt == ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError("unreachable")


def keys(server: embedded.EmbeddedServer) -> dict[str, str]:
    """The variables with the keys of an embedded SQS, for boto3 and our own code."""
    return dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), access_key(server.directory))


def start_again(server: embedded.EmbeddedServer, directory: Path) -> embedded.EmbeddedServer:
    """Replace a server that has ended, on its port and with its data. `directory` is what `start` got.

    It may not answer yet; call `wait_ready`.
    """
    data = next(path.parent for path in directory.glob(f"{server.name}-*/port") if path.read_text() == str(server.port))
    return embedded.start(server.name, Config(), directory=data, port=server.port)


def discard(server: embedded.EmbeddedServer) -> None:
    """End a server whose data is not needed any more."""
    server.process.kill()
    server.process.wait()
