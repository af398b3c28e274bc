"""`manage.py runworker`: a worker."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandParser

from jobs.indexes import ensure_indexes
from jobs.worker.loop import WorkerLoop
from queues.handlers import middleware, registry
from queues.settings import SETTINGS
from queues.sqs import get_gateway
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import check_mongodb, wait_for
from queuesite.local.reloading import READY


class Command(QueuesiteCommand):
    """Runs one worker until SIGTERM or Ctrl-C."""

    help = "Run a worker. It processes up to MAX_LOAD queues at once, each in a consumer process."
    quiet = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--pool", metavar="POOL", help="pool that the worker is in; queues may name one (default: WORKER_POOL)"
        )

        parser.add_argument("--say-ready", action="store_true", help=argparse.SUPPRESS)

    def run(self, **options: Any) -> None:
        """Wait for the servers, then work."""
        config = get_config()
        if options["pool"] is not None:
            SETTINGS["pool"].check(options["pool"])
        worker = WorkerLoop(config, worker_pool=options["pool"])
        worker.begin()
        middleware.check({(one.is_async, one.batches_of) for one in registry.all_handlers().values()})
        if options["say_ready"]:
            self.say(READY)
        wait_for(check_mongodb, "MongoDB", config.startup_wait_seconds)
        wait_for(lambda: get_gateway().check(), "SQS", config.startup_wait_seconds)
        # MongoDB may fail at any of these writes, so all of them are retried.
        wait_for(ensure_indexes, "MongoDB", config.startup_wait_seconds)
        worker.run()
