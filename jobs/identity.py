"""Names of processes: `<host>-<pid>-<8 hex>`, unique over machines, pid reuse and restarts within one process."""

from __future__ import annotations

import os
import secrets
import socket


def new_id() -> str:
    """A new name for this process, as worker or as lease holder."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
