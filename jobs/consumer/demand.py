"""How many messages to hold, and how many to receive now. Pure."""

from __future__ import annotations

from queues.sqs import MAX_BATCH

#: How many seconds of work a consumer holds back beyond what its slots are busy with.
PREFETCH_SECONDS = 1.0
#: A queue that gives its messages this few receives has none received before its turn: each one counts.
FEW_RECEIVES = 2


def prefetch(concurrency: int, mean_seconds: float | None, max_receive_count: int, batch: int = 1) -> int:
    """How many messages to hold beyond those in the slots.

    Enough to keep the slots busy while two batches are being received, but no more than a second of work: what waits
    here cannot be handled by anybody else. Before the first message is through (`mean_seconds` None), what fills one
    receive. A slot handles up to `batch` messages at once; what it still misses then it asks for itself.
    """
    if max_receive_count <= FEW_RECEIVES:
        return 0
    if mean_seconds is None:
        return max(0, MAX_BATCH - concurrency)
    most = 2 * MAX_BATCH + concurrency * batch
    work = concurrency * PREFETCH_SECONDS
    return most if mean_seconds * most <= work else int(work / mean_seconds)


def room(free_slots: int, buffered: int, target: int) -> int:
    """How many messages to receive now (0: not worth a request yet), up to 10.

    A slot that has nothing to do is always worth a request. Otherwise a request waits until the buffer can take a full
    batch, or, if it is smaller than that, has run half empty.
    """
    wanted = min(MAX_BATCH, free_slots + target - buffered)
    if wanted <= 0:
        return 0
    if buffered < free_slots or buffered == 0:
        return wanted
    threshold = target - MAX_BATCH if target >= MAX_BATCH else target // 2
    return wanted if buffered <= threshold else 0
