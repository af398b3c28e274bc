"""Imported by the fork server before it forks anything: what every consumer needs, loaded once.

A consumer that is forked from here handles its first message after some 15 ms, with 8 MB of its own. What it needs to
know of SQS comes from its worker (`jobs.worker.access`), since that keeps it up to date. Nothing that is made here may
be a connection, a thread or a lock that is held.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import time

from queuesite.foundation import starting

starting.begin()

import django  # noqa: E402
import psutil  # noqa: E402

from queuesite.foundation import home  # noqa: E402

# An init system that signals every process of a unit must not take the fork server from its worker.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

home.enter(home.home())  # a team's settings may be there
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "queuesite.settings")
django.setup()

import queues.sqs.gateway  # noqa: E402, F401 (for the consumers, which make theirs of it)
from jobs.consumer import process  # noqa: E402
from jobs.consumer.growth import warn_of_large_imports  # noqa: E402
from jobs.listener import process as listener_process  # noqa: E402, F401 - a listener is forked from here too
from jobs.worker import fork_server, inheritance  # noqa: E402
from queues.handlers import middleware, registry  # noqa: E402
from queues.sqs import preparation  # noqa: E402
from queuesite import __main__ as entrance  # noqa: E402
from queuesite.foundation.config import get_config  # noqa: E402
from queuesite.foundation.errors import QueuesiteError  # noqa: E402
from queuesite.foundation.logs import get_logger  # noqa: E402
from queuesite.foundation.output import keep_lines_whole  # noqa: E402

keep_lines_whole()  # of handlers that print

# multiprocessing would run the worker's main module again in each consumer, which takes 2 ms, and needs none of it.
sys.modules["__main__"].__file__ = entrance.__file__

try:
    before = inheritance.open_sockets()  # the fork server's own
    registry.discover()
    middleware.load()
    preparation.preload(get_config())
    warn_of_large_imports(get_config().consumer_memory_mb)
except QueuesiteError:
    pass  # the worker, or a consumer's run, meets it again and says so
else:
    sockets = [what for number, what in inheritance.open_sockets().items() if number not in before]
    threads = inheritance.running_threads()
    if sockets or threads:
        get_logger(__name__).warning(
            "handlers_opened_at_import",
            sockets=sockets,
            threads=threads,
            meaning="consumers are forked after the import: they share these sockets, and do not have these threads",
            remedy="make clients when a handler first needs them",
        )


def _linger() -> None:
    """Wait a little for the consumers, whose parent this is, before they die with it.

    The fork server ends when its worker has. Consumers read the end of their pipes then and give back what they hold;
    one that cannot (its handler holds the interpreter) is ended by the kernel as soon as this process is gone.
    """
    deadline = time.monotonic() + process.ORPHAN_SECONDS + 0.2
    while time.monotonic() < deadline and any(
        child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process().children()
    ):
        time.sleep(0.02)


fork_server.survive_failed_forks()
atexit.register(_linger)  # what it forks ends by `os._exit`, which calls no such function

gc.collect()
starting.begun()
