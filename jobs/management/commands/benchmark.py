"""`manage.py benchmark`: measures how fast this system is on the configured servers."""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs.benchmark import consumption, fleet, idle, limit, pages, report, scale
from jobs.benchmark.report import Figure
from jobs.indexes import ensure_indexes
from jobs.worker.pool import Pool
from queues import services
from queues.models import Queue
from queues.sqs import get_gateway
from queuesite.foundation import home
from queuesite.foundation.commands import QueuesiteCommand, integer
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import check_mongodb, database
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.monitoring import OperationCounter

#: Largest number of latency samples; one takes 0.3 s.
SAMPLES = 120
#: How many times the messages of other runs are received from the server that costs nothing.
LIMIT_TIMES = 5
#: Number of consumer processes to start, one after another, each after a second without work.
STARTS = 5


class Command(QueuesiteCommand):
    """Measures in queues and a MongoDB database of its own, and removes them."""

    help = (
        "Measure this system against bare boto3 on the configured servers: CPU, throughput, requests, latency, memory. "
        "It works in queues and a MongoDB database of its own and removes them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """What to measure."""
        parser.add_argument(
            "--messages",
            type=integer(100),
            default=4_000,
            metavar="N",
            help="messages of each run (default: %(default)s)",
        )
        parser.add_argument(
            "--queues",
            type=integer(1),
            default=1,
            metavar="N",
            help="queues served one after another (default: %(default)s)",
        )
        parser.add_argument(
            "--concurrency",
            type=integer(1),
            default=5,
            metavar="N",
            help="concurrency of the runs with synchronous handlers (default: %(default)s)",
        )
        parser.add_argument(
            "--work",
            type=integer(0),
            default=20,
            metavar="MS",
            help="milliseconds that a hot queue's handler takes (default: %(default)s)",
        )
        parser.add_argument("--scale", type=integer(100), metavar="N", help="measure one master with N queues instead")
        parser.add_argument("--idle", action="store_true", help="measure idle queues and their listener instead")
        parser.add_argument(
            "--pages", type=integer(100), metavar="N", help="measure the admin's pages with N queues instead"
        )
        parser.add_argument(
            "--watch",
            type=integer(1, 3_600),
            default=20,
            metavar="S",
            help="seconds for which --pages watches MongoDB's CPU, six times (default: %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--update", type=Path, metavar="FILE", help="write this run's table into a Markdown file")
        parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)

    def run(self, **options: Any) -> None:
        """Measure in a child process, which runs this command with `--inside`."""
        if options["inside"]:
            self._measure(options)
            return
        config = get_config()
        if options["update"]:
            self._update(options, [])  # fails before minutes are spent
        check_mongodb()
        get_gateway().check()
        environment = consumption.with_our_handlers(
            dict(os.environ),
            mongodb_name=f"{config.mongodb_name[:50]}_benchmark",
            queue_name_prefix=f"bench-{secrets.token_hex(3)}-",
            max_concurrency=max(100, options["concurrency"]),
            consumer_usage_limit=10_000,
            log_level="WARNING",
        )
        with tempfile.TemporaryDirectory(prefix="queuesite-benchmark-") as directory:
            if options["pages"]:  # Django's tables too
                environment["DATABASE_URL"] = f"sqlite:///{directory}/db.sqlite3"
            code = subprocess.run(
                home.command(*sys.argv[1:], "--inside"), env=home.environment(environment), check=False
            ).returncode
        if code:
            raise CommandError("the benchmark failed; see the error above", returncode=code)

    def _measure(self, options: dict[str, Any]) -> None:
        operations = OperationCounter()
        operations.register()
        ensure_indexes()
        try:
            with tempfile.TemporaryDirectory(prefix="queuesite-benchmark-") as directory:
                if options["scale"]:
                    figures = self._scale(options["scale"], operations)
                elif options["idle"]:
                    figures = self._idle(Path(directory))
                elif options["pages"]:
                    with self._steps() as step:
                        figures = pages.figures(
                            pages.measure(options["pages"], Path(directory), options["watch"], step)
                        )
                else:
                    figures = self._speed(Path(directory), options)
            self._show(options, figures)  # before a server may fail at the removal of so much
        finally:
            self._clean_up()

    def _show(self, options: dict[str, Any], figures: list[Figure]) -> None:
        if options["update"]:
            self._update(options, figures)
        if options["json"]:
            self.print_json({"machine": machine(), "figures": [figure.as_dict() for figure in figures]})
            return
        self.print_table(
            ("measured", "figure", "goal", "met"),
            ((f.what, f.shown, f.goal, report.MET[f.met]) for f in figures),
            numeric=("figure",),
        )
        self.say("")
        for name, value in machine().items():
            self.say(f"{name}: {value}")

    def _update(self, options: dict[str, Any], figures: list[Figure]) -> None:
        """Write the figures into the document; without figures, only check that it can be done."""
        path: Path = options["update"]
        name = next((name for name in ("scale", "idle", "pages") if options[name]), "speed")
        try:
            text = report.in_document(path.read_text(), name, figures, machine())
            if figures:
                path.write_text(text)
        except OSError as error:
            raise InvalidInput(f"--update {path}: {error.strerror}; name a writable Markdown file") from None

    def _speed(self, directory: Path, options: dict[str, Any]) -> list[Figure]:
        config = get_config()
        messages, concurrency = options["messages"], options["concurrency"]
        slow_messages, samples = messages // 4, min(SAMPLES, messages // 20)
        figures: list[Figure] = []
        with self._steps() as step:
            step("starting a worker")
            figures += report.footprint(fleet.footprint(directory))
            pool = Pool(config)
            pool.warm_up()
            try:
                warm = _queue("warm-up", concurrency)
                consumption.fill(warm, 100)
                consumption.measure_consumer(pool, warm, 100)
                step("new consumer processes")
                figures += report.start(consumption.measure_starts(config, warm, min(STARTS, messages // 50)))
                for number in range(options["queues"]):
                    suffix = f" (queue {number + 1})" if options["queues"] > 1 else ""
                    floor_queue, ours = _queue(f"floor-{number}", concurrency), _queue(f"ours-{number}", concurrency)
                    asynchronous = _queue(f"async-{number}", 50, handler="benchmark-async")
                    for queue in (floor_queue, ours, asynchronous):
                        step(f"sending {messages:,} messages to {queue.name}", messages)
                        consumption.fill(queue, messages, step.advance)
                    step("the floor: bare boto3")
                    floor = consumption.measure_floor(config, floor_queue, messages, concurrency)
                    step(f"our consumer, no-op handlers, concurrency {concurrency}")
                    figures += report.consumption(
                        f"no-op{suffix}", floor, consumption.measure_consumer(pool, ours, messages), 0.6
                    )
                    step("our consumer, async handlers, concurrency 50")
                    figures += report.consumption(
                        f"async{suffix}", floor, consumption.measure_consumer(pool, asynchronous, messages), 0.7
                    )
                step("a server that costs nothing")
                figures += report.limit(*limit.measure(LIMIT_TIMES * messages, concurrency))
                slow = _queue("slow", concurrency, handler_options={"least": 0.05, "most": 0.35})
                step(f"sending {slow_messages:,} messages", slow_messages)
                consumption.fill(slow, slow_messages, step.advance)
                step("handlers of 50 to 350 ms; this takes a minute")
                figures += report.slow(consumption.measure_consumer(pool, slow, slow_messages))
            finally:
                pool.close(2.0)
            stamps = fleet.Stamps(directory / "stamps.jsonl")
            step("latency, warm", samples)
            hot_start = fleet.latencies(directory, stamps, samples, warm=True, progress=step.advance)
            step("latency, cold", samples)
            cold_start = fleet.latencies(directory, stamps, samples, warm=False, progress=step.advance)
            figures += report.latency(hot_start, cold_start)
            step("a hot queue")
            figures += report.hot(fleet.hot_queue(directory, messages, options["work"] / 1000))
            # As many messages as keep their queues busy for twice the time slice.
            held = int(2 * fleet.SLICE / fleet.HOLDING * Queue().concurrency)
            step("a queue that waits while others stay busy")
            figures += report.fairness(fleet.fairness(directory, stamps, held))
        return figures

    def _scale(self, count: int, operations: OperationCounter) -> list[Figure]:
        config = get_config()
        with self._steps() as step:
            step(f"creating {count:,} queues", count)
            queues = scale.make_queues(count, step.advance)
            return report.scale(scale.measure(config, queues, operations, step), config.sweep_max_seconds)

    def _idle(self, directory: Path) -> list[Figure]:
        with self._steps() as step:
            step(f"{idle.QUEUES} idle queues; this takes minutes", idle.SAMPLES)
            stamps = fleet.Stamps(directory / "stamps.jsonl")
            return idle.figures(idle.measure(get_config(), directory, stamps, step.advance))

    def _clean_up(self) -> None:
        with self._steps() as step:
            urls = list(get_gateway().queue_urls(get_config().queue_name_prefix))
            step(f"removing {len(urls):,} queues", len(urls))

            def remove(url: str) -> None:
                get_gateway().delete_queue(url)
                step.advance(1)

            scale.in_parallel(remove, urls)
        for name in database().list_collection_names():
            database()[name].delete_many({})  # dropping takes the embedded server 20 ms each
        database().client.drop_database(database().name)

    @contextmanager
    def _steps(self) -> Iterator[Steps]:
        """Show progress on stderr: a bar on a terminal, otherwise a line per step."""
        terminal = sys.stderr.isatty()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not terminal,
        )
        with bar:
            yield Steps(bar, lambda text: None if terminal else self.stderr.write(text))


class Steps:
    """The steps of a benchmark; `advance` reports progress of the current one."""

    def __init__(self, bar: Progress, say: Any) -> None:
        self._bar, self._say = bar, say
        self._task = bar.add_task("", total=None)

    def __call__(self, text: str, total: int | None = None) -> None:
        """Begin a step of `total` parts, or of unknown length."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total)
        self._say(text)

    def advance(self, more: int) -> None:
        """Report that `more` further parts are done."""
        self._bar.advance(self._task, more)


def _queue(name: str, concurrency: int, *, handler: str = "benchmark", **settings: Any) -> Queue:
    # A long visibility timeout, so that the benchmark measures the work and not extensions.
    chosen = {"handler": handler, "concurrency": concurrency, "visibility_timeout": 120, **settings}
    return services.create(name, with_dlq=False, settings=chosen)


def machine() -> dict[str, str]:
    """The machine and the versions that the figures were measured on."""
    packages = ("django", "boto3", "pymongo")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "load": ", ".join(f"{value:.1f}" for value in psutil.getloadavg()),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "date": time.strftime("%Y-%m-%d"),
    }
