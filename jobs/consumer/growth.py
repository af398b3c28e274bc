"""How much a consumer process has grown: what its recycling goes by."""

from __future__ import annotations

import psutil

from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

_MIB = 1_048_576


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class Growth:
    """The memory of this process, compared with what its imports take, which no process like it would have less of.

    Only what came on top of that counts towards `limit_mb` (0: no limit).
    """

    def __init__(self, limit_mb: int) -> None:
        self._process = psutil.Process()
        self._limit = limit_mb * _MIB
        # Pages of files that the fork server has loaded are counted here once they are used here.
        self._at_first = max(self.memory(), _memory_of(self._process.ppid()))

    def memory(self) -> int:
        """The resident memory now, in bytes."""
        return int(self._process.memory_info().rss)

    def too_large(self, memory: int) -> bool:
        """Whether a process of `memory` bytes has grown past the limit."""
        return 0 < self._limit < memory - self._at_first

    def in_words(self, memory: int) -> str:
        """Why it is replaced."""
        return (
            f"the consumer grew from {self._at_first // _MIB} MB to {memory // _MIB} MB, "
            f"by more than CONSUMER_MEMORY_MB={self._limit // _MIB}: it is replaced"
        )


def warn_of_large_imports(limit_mb: int) -> None:
    """Say once, in the process that all consumers are forked from, that these begin with more than the limit."""
    memory = int(psutil.Process().memory_info().rss)
    if memory > limit_mb * _MIB > 0:
        log.warning(
            "consumers_start_large",
            memory_mb=memory // _MIB,
            limit_mb=limit_mb,
            meaning="the handlers' imports take more than CONSUMER_MEMORY_MB: only what consumers grow by is limited",
        )
