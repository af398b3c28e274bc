"""The template: a process with the libraries loaded, from which `manage.py` is forked.

Loading libraries makes up most of a start of `manage.py`. The template loads libraries, and such modules of ours as
need no settings, but nothing that reads Django's settings. Each process loads configuration, settings, applications and
the rest of our modules itself, in its own environment, so what tests prove about a start holds.
`tests.support.processes` requests the processes; a test of the start itself uses a process that is not forked.

A request is one packet: JSON, with the standard streams and the pipe for the answer beside it. The answer is a line
with the pid, and at the end one with the exit code as `subprocess` has it.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from typing import Any

from django.conf import settings

#: Longest request, in bytes: an environment.
LONGEST_REQUEST = 200_000
#: What most commands import. Nothing that reads settings.
LIBRARIES = (
    *("annotated_types", "typing_inspection.introspection", "pydantic", "pydantic_settings"),
    *("structlog", "rich.console", "rich.table", "httpx", "psutil", "asyncio"),
    *("pymongo", "pymongo.monitoring", "bson.codec_options", "django_mongodb_backend"),
    *("botocore.client", "botocore.docs", "botocore.handlers", "botocore.httpsession", "boto3.resources.factory"),
    *("botocore.endpoint", "botocore.credentials", "boto3.session", "dj_database_url", "csp.constants"),
    *("django.core.management", "django.core.cache", "django.contrib.admin.apps", "django.db.models"),
    *("django.db.backends.sqlite3.base", "django.db.migrations.executor", "django.templatetags.static"),
    *(
        "django.test.testcases",
        "django.template.defaulttags",
        "django.template.loader_tags",
        "django.templatetags.i18n",
    ),
    *("django.contrib.auth.password_validation", "django.contrib.auth.tokens", "django.contrib.staticfiles.finders"),
    *(
        "prometheus_client",
        "pydantic.networks",
        "packaging.version",
        "unfold.dataclasses",
        "csp.checks",
        "picklefield.fields",
    ),
    *("unittest.mock", "xml.dom.minidom", "multiprocessing.sharedctypes", "uvicorn.main"),
    *("django.core.management.commands.migrate", "multiprocessing.forkserver", "multiprocessing.popen_forkserver"),
)
#: Of ours, with what these import: a third of what is left of a start. Not for processes that coverage.py measures,
#: which complains of modules that were there before it.
OURS = (
    *("jobs.consumer.news", "jobs.consumer.thread_slots", "jobs.listener.orders"),
    *("queues.handlers.builtin", "queues.handlers.catalogue", "queues.sqs.express.multiplexer"),
    *("queuesite.foundation.newest", "queuesite.local.reloading"),
)


@dataclass
class Start:
    """The process that a child of the template becomes."""

    arguments: list[str]
    directory: str
    environment: dict[str, str]
    streams: list[int]


def serve(requests: socket.socket) -> Start | None:
    """Fork a process for each request until no client is left. Returns only in the child, with what it becomes."""
    #: By the pidfd of each process: its pid, and where its end is reported.
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fd)
                    _report_end(key.fd, *running.pop(key.fd))
                    continue
                request, received, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
                if not request:
                    return None
                *streams, answer = received
                pid = os.fork()
                if pid == 0:
                    for ours in (answer, *running, *(at for _, at in running.values())):
                        os.close(ours)
                    return Start(**json.loads(request), streams=streams)
                _write(answer, f"{pid}\n")
                for stream in streams:
                    os.close(stream)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = (pid, answer)
                selector.register(pidfd, selectors.EVENT_READ)


def _report_end(pidfd: int, pid: int, answer: int) -> None:
    _, status = os.waitpid(pid, 0)
    _write(answer, f"{os.waitstatus_to_exitcode(status)}\n")
    os.close(answer)
    os.close(pidfd)


def _write(answer: int, text: str) -> None:
    with suppress(BrokenPipeError):  # the client has closed the pipe
        os.write(answer, text.encode())


def become(start: Start) -> None:
    """Make this process look as if it were started with these streams, in this environment, in its own session."""
    os.setsid()
    for number, stream in enumerate(start.streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.chdir(start.directory)
    os.environ.clear()
    os.environ.update(start.environment)
    sys.path[1:1] = (path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path))
    sys.argv = start.arguments
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage

        coverage.process_startup()
    if "runworker" in start.arguments:
        _keep_a_spare()


def _keep_a_spare() -> None:
    """Fork the process that becomes the worker's fork server now, while it is as empty as a new interpreter is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_fork_server(theirs)
    theirs.close()
    functions: Any = util
    spawn = functions.spawnv_passfds

    def use_the_spare(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return int(spawn(path, arguments, descriptors))
        functions.spawnv_passfds = spawn
        order = {"program": arguments[-1], "environment": dict(os.environ), "numbers": list(descriptors)}
        with ours:
            socket.send_fds(ours, [json.dumps(order).encode()], descriptors)
        return pid

    functions.spawnv_passfds = use_the_spare


def _be_fork_server(orders: socket.socket) -> None:
    order, received, _, _ = socket.recv_fds(orders, LONGEST_REQUEST, 4)
    if not order:
        os._exit(0)  # the worker has ended and did not need it
    wanted: dict[str, Any] = json.loads(order)
    orders.close()
    # First to numbers beyond those that are needed, so that none overwrites another.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, max(wanted["numbers"]) + 1) for number in received]
    for number in received:
        os.close(number)
    for number, target in zip(high, wanted["numbers"], strict=True):
        os.dup2(number, target)
        os.close(number)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = ["-c"]
    exec(wanted["program"], {"__name__": "__main__"})
    sys.exit()


def main() -> None:
    """Load the libraries, serve, and run `manage.py` in each child."""
    root, requests, measured = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), sys.argv[3:] == ["measured"]
    sys.path[0] = root  # as `manage.py` has it
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which ends this process
    for name in LIBRARIES:
        importlib.import_module(name)
    ours = {name.partition(".")[0] for name in sys.modules} & {"queuesite", "queues", "jobs", "tests"}
    assert not ours, f"a library has loaded {ours}"
    for name in () if measured else OURS:
        importlib.import_module(name)
    assert not settings.configured, "a module has read Django's settings"
    gc.freeze()
    start = serve(requests)
    requests.close()
    if start is not None:
        signal.signal(signal.SIGINT, interrupt)
        become(start)
        runpy.run_path("manage.py", run_name="__main__")


if __name__ == "__main__":
    main()
