"""The servers of a test run, each a real process on a free port, with its data in a directory that goes with it."""

from __future__ import annotations

import socket
from pathlib import Path

from queuesite.foundation.addresses import access_key
from queuesite.foundation.config import Config
from queuesite.foundation.errors import ServerError
from queuesite.local import embedded

#: Another program may take a port between the moment when it was found free and the server's own start.
ATTEMPTS = 3


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(name: embedded.Name, directory: Path) -> embedded.EmbeddedServer:
    """A server that answers."""
    for attempt in range(1, ATTEMPTS + 1):
        server = embedded.start(name, Config(), directory=directory / f"{name}-{attempt}", port=free_port())
        try:
            server.wait_ready(30)
        except ServerError:
            discard(server)
            if attempt == ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError("unreachable")


def keys(server: embedded.EmbeddedServer) -> dict[str, str]:
    """The variables by which boto3 and our own code get into an embedded SQS."""
    return dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), access_key(server.directory))


def start_again(server: embedded.EmbeddedServer, directory: Path) -> embedded.EmbeddedServer:
    """A server in place of one that has ended, on its port and with its data; `directory` is what `start` was given.

    It does not answer yet: `wait_ready`.
    """
    data = next(path.parent for path in directory.glob(f"{server.name}-*/port") if path.read_text() == str(server.port))
    return embedded.start(server.name, Config(), directory=data, port=server.port)


def discard(server: embedded.EmbeddedServer) -> None:
    """End a server whose data nobody wants."""
    server.process.kill()
    server.process.wait()
