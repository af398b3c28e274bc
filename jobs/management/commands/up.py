"""`manage.py up`: the whole system on one machine, with an embedded server for each address that is not configured."""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs import preparation
from queues.handlers import code
from queuesite.foundation import home, processes
from queuesite.foundation.addresses import Running, record_path, write_record
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.config import Config, get_config
from queuesite.foundation.errors import Conflict, InvalidInput
from queuesite.foundation.output import PrefixedOutput
from queuesite.foundation.private import UMASK, make_private
from queuesite.local import disk, embedded, installing, ports, reloading
from queuesite.local.supervisor import ChildSpec, Restart, Supervisor

#: The prefix of this command's own lines.
NAME = "up"
#: How long a server may take to open its data at the start; recovery after a kill takes longer than a clean start.
SERVER_START_SECONDS = 60.0
MASTER_STOP_SECONDS = 10.0
#: Added to SHUTDOWN_GRACE_SECONDS: time to give messages back and unregister.
WORKER_STOP_EXTRA = 5.0
TASKS_STOP_SECONDS = 10.0
WEB_STOP_SECONDS = 8.0


class Command(QueuesiteCommand):
    """The supervisor of the whole system, and the steps of its start that need processes of their own.

    The steps are processes because a process reads the addresses of its databases when it starts, and the embedded
    servers have no addresses before `up` has started them.
    """

    help = (
        "Run the whole system on this machine: a master, workers, background tasks, the web server, and an embedded "
        "server for each one that is not configured."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the hidden options that run one of the steps; compose.yaml uses them too."""
        parser.add_argument(
            "--reload", action="store_true", help="replace the workers when the code of handlers or tasks changes"
        )
        parser.add_argument("--step", choices=["prepare", "announce"], help=argparse.SUPPRESS)
        parser.add_argument("--show-password", action="store_true", help=argparse.SUPPRESS)

    def run(self, **options: Any) -> None:
        """Run until SIGINT or SIGTERM."""
        config = get_config()
        if options["step"] == "prepare":
            preparation.prepare(config, self.say, show_password=options["show_password"])
        elif options["step"] == "announce":
            preparation.announce(config, self.say)
        else:
            self._up(config, reload=options["reload"])

    def _up(self, config: Config, *, reload: bool) -> None:
        os.umask(UMASK)  # child processes inherit it
        lock = _lock(config)
        try:
            # Check the port before starting what the web server needs.
            if problem := ports.problem(config.web_host, config.web_port):
                raise InvalidInput(problem)
            if problem := disk.problem(config.data_dir):
                raise InvalidInput(problem)
            embedded.end_leftovers(config)
            self._supervise(config, code.watched(config) if reload else None)
        finally:
            os.close(lock)

    def _supervise(self, config: Config, watched: code.Watched | None) -> None:
        workers = [f"worker-{number}" for number in range(1, config.worker_instances + 1)]
        output = PrefixedOutput(sys.stdout, width=max(map(len, ("mongodb", *workers))))
        # A person reads a terminal; anything else may be a log that is kept.
        shown = ("--show-password",) if sys.stdout.isatty() else ()
        try:
            with Supervisor(output, NAME) as supervisor:
                _start_servers(config, supervisor)
                if ended := supervisor.run_step(
                    _manage(NAME, "up", "--step", "prepare", *shown, restart="never"), "preparing the databases"
                ):
                    raise CommandError("preparing the databases failed; see the error above", returncode=max(ended, 1))
                supervisor.say(f"starting master, {', '.join(workers)}, tasks, web")
                supervisor.start(_manage("master", "runmaster", stop_seconds=MASTER_STOP_SECONDS))
                grace = config.shutdown_grace_seconds + WORKER_STOP_EXTRA
                started = supervisor.start(*(_worker(name, grace) for name in workers))
                supervisor.start(_manage("tasks", "qcluster", stop_seconds=TASKS_STOP_SECONDS))
                supervisor.start(_manage("web", "runweb", stop_seconds=WEB_STOP_SECONDS))
                supervisor.start(_manage(NAME, "up", "--step", "announce", restart="on-failure"))
                if watched is not None:
                    replacements = reloading.Replacements(supervisor, started)
                    supervisor.start(reloading.watcher(watched.packages, watched.folders, replacements.changed))
                    supervisor.wait_until(replacements.step)
                supervisor.watch()
            supervisor.say("stopped")
        finally:
            record_path(config).unlink(missing_ok=True)


def _manage(name: str, *arguments: str, stop_seconds: float = 2.0, restart: Restart = "always") -> ChildSpec:
    return ChildSpec(
        name,
        partial(
            processes.spawn,
            home.command(*arguments),
            env={**home.environment(os.environ), "PYTHONUNBUFFERED": "1"},
            output=subprocess.PIPE,
        ),
        stop_seconds=stop_seconds,
        restart=restart,
    )


def _worker(name: str, stop_seconds: float) -> ChildSpec:
    spec = _manage(name, "runworker", "--say-ready", stop_seconds=stop_seconds)
    return replace(spec, screen=reloading.hides_ready)


class _Servers:
    """The embedded servers of this run, and the record from which other processes learn their addresses."""

    def __init__(self, config: Config, names: list[embedded.Name]) -> None:
        self._config = config
        self._servers: dict[embedded.Name, embedded.EmbeddedServer] = {}
        self._announced = False
        self.specs = [
            ChildSpec(
                name,
                partial(self._spawn, name),
                stop_seconds=embedded.STOP_SECONDS,
                essential=True,
                patience=3,  # ministack loses what it does not write at SIGTERM
                screen=partial(disk.FullDiskScreen, config.data_dir),
            )
            for name in names
        ]

    def _spawn(self, name: embedded.Name) -> subprocess.Popen[bytes]:
        before = self._servers.get(name)
        self._servers[name] = embedded.start(
            name,
            self._config,
            directory=self._config.data_dir / name,
            port=before.port if before else None,
            output=subprocess.PIPE,
        )
        if self._announced:
            self.record()
        return self._servers[name].process

    def ready(self) -> bool:
        """Whether all of them answer. Raises `ServerError` if one has ended."""
        return all(server.is_ready() for server in self._servers.values())

    def record(self) -> None:
        """Publish the servers' addresses to all processes, now and after each restart."""
        self._announced = True
        write_record(self._config, {n: Running.of(s.address, s.pid) for n, s in self._servers.items()})

    def addresses(self) -> str:
        """The addresses, for people."""
        return ", ".join(server.address for server in self._servers.values())


def _start_servers(config: Config, supervisor: Supervisor) -> None:
    names: list[embedded.Name] = []
    if config.embedded_mongodb:
        names.append("mongodb")
    if config.embedded_sqs:
        names.append("sqs")
    if not names:
        return
    installation = installing.step(config)
    if installation is not None and supervisor.run_step(installation):
        raise CommandError(
            "the embedded servers could not be installed, see above; set MONGODB_URI and AWS_SQS_ENDPOINT to use "
            "servers of your own",
            returncode=1,
        )
    servers = _Servers(config, names)
    supervisor.say(f"starting the embedded servers ({', '.join(names)}), with their data in {config.data_dir}")
    supervisor.start(*servers.specs)
    if not supervisor.wait_until(servers.ready, seconds=SERVER_START_SECONDS, what="waiting for the embedded servers"):
        raise Conflict(f"the embedded servers do not answer after {SERVER_START_SECONDS:g} s; their output is above")
    servers.record()
    supervisor.say(f"embedded servers: {servers.addresses()}")


def _lock(config: Config) -> int:
    """A descriptor that holds the lock of DATA_DIR; the kernel frees the lock however this process ends."""
    make_private(config.data_dir)
    lock = os.open(config.data_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise Conflict(
            f"`{home.PROGRAM} up` already runs with DATA_DIR={config.data_dir} (process {pid}); "
            "stop it, or give this one its own DATA_DIR and WEB_PORT"
        ) from None
    os.pwrite(lock, f"{os.getpid():<10}".encode(), 0)
    return lock
