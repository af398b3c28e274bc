"""Django's database connections in slots that are threads."""

from __future__ import annotations

import threading
import time

from django.db import close_old_connections, reset_queries

from jobs.consumer.turn import Stage, Turn

#: Seconds between looks, in each thread, whether Django's connections are still usable.
CLEAN_SECONDS = 1.0


class Connections(Stage):
    """Checks a thread's connections as Django does after each request: a handler may use its databases."""

    def __init__(self) -> None:
        self._local = threading.local()

    def after(self, turn: Turn) -> None:
        """Close what is old or broken; after an error at once, since a connection may be the cause.

        Doing so each time would be a tenth of the work of handlers that do nothing, and connections do not age faster.
        """
        if not turn.spec.handler.is_async and (
            turn.error is not None or turn.started >= getattr(self._local, "clean_at", 0.0)
        ):
            self._local.clean_at = time.monotonic() + CLEAN_SECONDS
            reset_queries()
            close_old_connections()
