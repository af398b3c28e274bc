"""Whether the web server can bind its address: `python3 -m queuesite.local.ports`, before anything is installed."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from pathlib import Path

DEFAULTS = {"WEB_HOST": "127.0.0.1", "WEB_PORT": "8000"}


def problem(host: str, port: int) -> str | None:
    """Why the address cannot be bound, with the remedy, or None."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        address = f"WEB_PORT={port}: {host}:{port}"
        if error.errno == errno.EADDRINUSE:
            return f"{address} is in use by another program; end that program, or set WEB_PORT to a free port"
        return f"{address} cannot be bound ({error.strerror or error}); set WEB_HOST and WEB_PORT to a usable address"
    return None


def main() -> int:
    """Check the port that the environment or `.env` names. Returns 2 if it is taken.

    It runs before pydantic and python-dotenv are installed, and leaves what it cannot read to `manage.py up`.
    """
    path = Path(os.environ.get("ENV_FILE", ".env"))
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = dict(re.findall(r"""^\s*(?:export\s+)?(WEB_HOST|WEB_PORT)\s*=\s*["']?([^"'\s#]+)""", text, re.MULTILINE))
    host, port = (os.environ.get(name) or found.get(name) or default for name, default in DEFAULTS.items())
    if port.isdecimal() and 0 < int(port) < 65_536 and (said := problem(host, int(port))):
        print(f"make: {said}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
