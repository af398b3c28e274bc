"""What consumers need to reach SQS, kept up to date by their worker for those that are still to come.

boto3 takes 0.1 s of CPU and a client of 8 MB to find SQS's address and the keys to it, and a consumer would need that
for nothing else. It gets both as plain values when it is forked, and looks for keys by itself only if its own are about
to expire, or SQS refuses them. The worker makes no requests, so it does not notice that keys have changed unless it
looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from queues.sqs import get_gateway
from queues.sqs.express.endpoint import RENEW_BEFORE, Prepared, Source
from queuesite.foundation.config import Config
from queuesite.foundation.outage import Outage
from queuesite.foundation.threads import joined, supervised

#: Seconds between looks for changed keys. One takes 5 ms of CPU; keys that a server gave are left alone until they are
#: about to expire.
LOOK_SECONDS = 60.0


class Access:
    """Where SQS is and the keys of the moment. `prepared` may be called from any thread."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._prepared: Prepared | None = None
        self._source: Source | None = None
        self._outage = Outage("the address and keys of SQS")
        self._stopping = threading.Event()
        self._thread = supervised("access", self._run)

    def prepared(self) -> Prepared | None:
        """What a consumer that is forked now begins with; None if it is to look for itself.

        The first call looks, which may take seconds, and starts the thread that keeps looking. It raises nothing: what
        fails here fails in a consumer's run too, whose job then has the error.
        """
        with self._lock:
            if self._prepared is None:
                try:
                    self._prepared = get_gateway().prepared
                except Exception as error:
                    self._outage.failed(error)
                else:
                    self._outage.over()
            if self._prepared is not None and self._thread.ident is None and not self._stopping.is_set():
                self._thread.start()
            return self._prepared

    def stop(self) -> None:
        """Have the thread end."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return joined(self._thread, timeout)

    def look(self) -> None:
        """Look for changed keys, and renew those that are about to expire. A failure is logged and changes nothing."""
        known = self._prepared
        try:
            if known is not None:
                self._prepared = self._renewed(known)
        except Exception as error:  # whatever boto3 meets in files and at servers, runs go on with the keys they have
            self._outage.failed(error)
        else:
            self._outage.over()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()

    def _renewed(self, known: Prepared) -> Prepared:
        # Imports boto3, which has no place at the start of a worker: that starts its fork server first.
        from queues.sqs.preparation import finder, prepare

        if self._config.embedded_sqs:  # it may have been started again elsewhere
            return prepare(self._config)
        if known.keys is None or known.expires_at is None:
            self._source = None  # boto3's files may have changed, which a source has read once
        elif self._clock() < known.expires_at - RENEW_BEFORE:
            return known
        if self._source is None:
            self._source = finder(self._config, known.address)()
        keys, expires_at = self._source()
        return replace(known, keys=keys, expires_at=expires_at)
