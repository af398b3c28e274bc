"""`manage.py runmaster`: a master."""

from __future__ import annotations

from typing import Any

from jobs.indexes import ensure_indexes
from jobs.master.scheduler import Scheduler
from jobs.notice_fallback import NoticeFallback
from queues.sqs import get_gateway
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import check_mongodb, wait_for


class Command(QueuesiteCommand):
    """Runs one master until SIGTERM or Ctrl-C."""

    help = "Run a master: one of all masters leads and assigns queues to workers; the others stand by."
    quiet = False

    def run(self, **options: Any) -> None:
        """Wait for the servers, then lead or stand by."""
        config = get_config()
        wait_for(check_mongodb, "MongoDB", config.startup_wait_seconds)
        wait_for(lambda: get_gateway().check(), "SQS", config.startup_wait_seconds)
        # MongoDB may fail at any of these writes, so all of them are retried.
        wait_for(ensure_indexes, "MongoDB", config.startup_wait_seconds)
        master = Scheduler(config, get_gateway())
        NoticeFallback(lambda: master.leadership.term is not None).start()
        master.run()
