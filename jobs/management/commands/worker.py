"""`manage.py worker`: lists the workers and drains one."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs import reads, services
from jobs.management.sqs_output import as_api
from jobs.models import Worker
from queuesite.foundation.commands import Parser, QueuesiteCommand, integer
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.home import PROGRAM

#: Seconds between two checks of a draining worker.
LOOK_SECONDS = 0.5
#: Seconds beyond its grace after which `--wait` gives up.
MARGIN_SECONDS = 15.0
#: Seconds between two lines that say what it waits for.
QUIET_SECONDS = 2.0


class Command(QueuesiteCommand):
    """Subcommands for workers."""

    help = "List the workers, drain one, or set how many queues it processes at once."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)

        def verb(name: str, text: str) -> argparse.ArgumentParser:
            return verbs.add_parser(name, help=text, description=text)

        verb("list", "list the registered workers").add_argument("--json", action="store_true", help="print JSON")
        drain = verb("drain", "make a worker finish what is in flight and exit, on whichever machine it runs")
        drain.add_argument("id", metavar="ID", help="the worker's id, as `worker list` shows it")
        capacity = verb("set-capacity", "set how many consumers a running worker runs at once, until it ends")
        capacity.add_argument("id", metavar="ID", help="the worker's id, as `worker list` shows it")
        capacity.add_argument(
            "capacity", metavar="N", type=integer(1, 1_000), help="consumers, up to the worker's MAX_LOAD_LIMIT"
        )
        drain.add_argument("--wait", action="store_true", help="wait until the worker has left")

    def run(self, **options: Any) -> None:
        """Run the verb."""
        getattr(self, "do_" + options["verb"].replace("-", "_"))(options)

    def do_list(self, options: dict[str, Any]) -> None:
        workers = services.list_workers()
        now = database_clock.now()
        if options["json"]:
            load = reads.load_by_worker()
            self.print_json([_as_json(worker, load[worker.worker_id], now) for worker in workers])
            return
        if not workers:
            self.say(f"there are no workers; start one with `{PROGRAM} runworker`")
            return
        self.print_table(
            ("id", "host", "pid", "pool", "version", "load", "state", "heartbeat", "queues"),
            (
                (
                    worker.worker_id,
                    worker.host,
                    worker.pid,
                    worker.pool or "",
                    worker.version,
                    f"{sum(not one.get('finishing') for one in worker.consumers)}/{worker.capacity}",
                    services.worker_state(worker, now),
                    f"{_age(worker, now):.1f} s ago",
                    ", ".join(sorted(consumer["queueName"] for consumer in worker.consumers)),
                )
                for worker in workers
            ),
            numeric=("pid", "load"),
        )

    def do_set_capacity(self, options: dict[str, Any]) -> None:
        changed = services.set_capacity(options["id"], options["capacity"])
        again = "" if changed else ", as before"
        self.say(f"worker {options['id']} was asked for a capacity of {options['capacity']}{again}")

    def do_drain(self, options: dict[str, Any]) -> None:
        name = options["id"]
        asked = services.drain_worker(name)
        self.say(f"worker {name} is draining" + ("" if asked else " already"))
        if not options["wait"]:
            return
        limit = get_config().shutdown_grace_seconds + MARGIN_SECONDS
        began = last = time.monotonic()
        while (worker := _find(name)) is not None:
            now = time.monotonic()
            if now - began > limit:
                raise CommandError(f"worker {name} has not left within {limit:g} s; see its log", returncode=1)
            if now - last >= QUIET_SECONDS:
                last = now
                in_flight = sum(consumer["inFlight"] for consumer in worker.consumers)
                self.say(f"waiting: {len(worker.consumers)} consumers, {in_flight} messages in flight")
            time.sleep(LOOK_SECONDS)
        self.say(f"worker {name} has left")


def _find(name: str) -> Worker | None:
    return next((worker for worker in services.list_workers() if worker.worker_id == name), None)


def _age(worker: Worker, now: datetime) -> float:
    return max(0.0, (now - worker.heartbeat_at).total_seconds())


def _as_json(worker: Worker, load: int, now: datetime) -> dict[str, Any]:
    """A worker for programs, as the API returns it, with its state."""
    from jobs.api.worker_schemas import WorkerOut

    [found] = as_api([WorkerOut.of(worker, load, now)])
    return {**found, "state": services.worker_state(worker, now)}
