"""Where SQS is, and the keys to it: plain values that are prepared before a fork, and their renewal after it.

boto3 finds both (`queues.sqs.preparation`), since nobody should write its chain of sources twice. A process that was
forked with them needs boto3 only once the keys are about to expire, or are refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from queues.sqs.express.signing import Keys
from queuesite.foundation.errors import ServerError, SqsDenied

#: How long before they expire keys are renewed, in seconds: botocore's own (`_DEFAULT_ADVISORY_REFRESH_TIMEOUT`).
RENEW_BEFORE = 15 * 60.0
#: Shortest time between two searches for other keys after some were refused, in seconds; one takes 0.2 s of CPU.
LOOK_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a request needs to know beforehand. May be pickled; holds no connection and no lock."""

    url: str
    region: str
    #: SQS's address as it may be shown.
    address: str
    user_agent: str
    #: None: boto3 had none, or could not fetch them.
    keys: Keys | None = None
    #: When the keys expire, in seconds since 1970; None: never, as far as is known.
    expires_at: float | None = None
    #: The proxy's address, which may hold a password.
    proxy: str | None = field(default=None, repr=False)
    #: File or directory of the authorities that are trusted; None: no TLS.
    ca_bundle: str | None = None


#: Gives the keys of the moment and when they expire; renews them if it is time. May take seconds. Raises `ServerError`.
Source = Callable[[], tuple[Keys, float | None]]


class Credentials:
    """The keys of this process. Safe for threads; make it after the fork."""

    def __init__(self, prepared: Prepared, find: Callable[[], Source]) -> None:
        """`find` looks for a source, reading boto3's files and the environment again; it raises `ServerError`."""
        #: Keys and when they expire, in one value, since threads read them without a lock.
        self._held = (prepared.keys, prepared.expires_at)
        self._find = find
        self._source: Source | None = None
        self._lock = threading.Lock()
        self._look_again_at = 0.0

    def at_hand(self) -> Keys | None:
        """The keys, or None if they must be found or renewed, which takes time."""
        keys, expires_at = self._held
        return keys if _lasts(expires_at) else None

    def get(self) -> Keys:
        """The keys, renewed before they expire.

        Raises `SqsDenied` if there are none, and looks for others, which the next call then takes.
        """
        keys = self.at_hand()
        if keys is not None:
            return keys
        with self._lock:
            if self._source is None:
                self._source = self._find()
            source = self._source
        try:
            keys, expires_at = source()
        except SqsDenied:
            self.look_again()
            raise
        self._held = (keys, expires_at)
        return keys

    def look_again(self) -> None:
        """SQS has refused the keys: look for others, at most every five seconds.

        boto3 renews credentials that it fetched itself, but never those that it read from a file or the environment;
        renewed ones would be noticed only at a restart.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._look_again_at:
                return
            self._look_again_at = now + LOOK_AGAIN_SECONDS
            try:
                self._source = self._find()
            except ServerError:  # the file is being written; what is known is used until the next look
                return
            self._held = (None, None)


def _lasts(expires_at: float | None) -> bool:
    return expires_at is None or time.time() < expires_at - RENEW_BEFORE
