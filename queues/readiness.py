"""Whether MongoDB, SQS and Django's own database answer a real request within a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.db import connections

from queues.sqs import get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import check_database, check_mongodb
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

OK = "ok"
LATE = "no answer in time"
FAILED = "unavailable"


class _Probe:
    """One server's check. While one hangs, no other is begun, because threads cannot be stopped."""

    def __init__(self, name: str, check: Callable[[], None]) -> None:
        self.name = name
        self._check = check
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._outcome = LATE

    def start(self) -> None:
        """Begin a check, unless one is under way."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._outcome = LATE
                self._thread = threading.Thread(target=self._run, name=f"ready-{self.name}", daemon=True)
                self._thread.start()

    def outcome(self, deadline: float) -> str:
        """The result, at the latest at `deadline` (monotonic clock)."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self._outcome

    def _run(self) -> None:
        try:
            self._check()
            self._outcome = OK
        except QueuesiteError as error:
            log.warning("not_ready", server=self.name, error=str(error))
            self._outcome = FAILED
        except Exception:
            log.exception("not_ready", server=self.name)
            self._outcome = FAILED
        finally:
            connections.close_all()  # this thread's own: Django keeps one per thread


_probes = (
    _Probe("mongodb", check_mongodb),
    _Probe("sqs", lambda: get_gateway().check()),
    _Probe("database", check_database),
)


def check(seconds: float | None = None) -> dict[str, str]:
    """Each server's result within READY_TIMEOUT_SECONDS, or `seconds`: `ok`, or what is wrong, without addresses."""
    deadline = time.monotonic() + (get_config().ready_timeout_seconds if seconds is None else seconds)
    for probe in _probes:
        probe.start()
    return {probe.name: probe.outcome(deadline) for probe in _probes}
