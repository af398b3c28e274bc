"""Which messages a consumer's slots have in hand, in memory that its worker can read when the consumer has died.

A handler that ends the process (out of memory, a fault of a C library) leaves no other trace: what the consumer last
sent through its pipe is up to half a heartbeat old.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections import deque
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

from jobs.consumer.turn import Stage, Turn

#: Messages that are noted at most; beyond them, attempts that a crash ends are not recorded.
ENTRIES = 256
# A byte that says whether the entry counts, the receive count, the turn's start by the monotonic clock, when SQS got
# the message in seconds since 1970 (0: unknown), and its id, which has up to 100 characters:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html
_ENTRY = struct.Struct("=xIdd100s")
_BYTES = ENTRIES * _ENTRY.size


@dataclass(frozen=True)
class InHand:
    """A message that a slot had taken. `started` is the monotonic clock's, which all processes of a machine share."""

    message_id: str
    receive_count: int
    started: float
    #: Seconds since 1970; None if SQS did not say.
    sent_at: float | None


class Board:
    """Memory that a worker shares with one consumer. It may be passed to a process that is being started."""

    def __init__(self) -> None:
        """Raises `OSError` if there is no memory or descriptor left."""
        # Python's mmap keeps a descriptor of its own; this one is for the consumer.
        self._descriptor: int | None = _new_memory()
        try:
            self.memory = mmap.mmap(self._descriptor, _BYTES)
        except BaseException:
            self.passed()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        if self._descriptor is None:
            raise ValueError("this board has been passed on already")
        return _received, (reduction.DupFd(self._descriptor),)

    def passed(self) -> None:
        """The consumer has it, so it need not be passed any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> list[InHand]:
        """What the consumer had in hand when it died, the oldest first."""
        found = []
        for at in range(0, _BYTES, _ENTRY.size):
            if self.memory[at]:
                receive_count, started, sent_at, message_id = _ENTRY.unpack_from(self.memory, at)
                found.append(
                    InHand(message_id.rstrip(b"\0").decode(errors="replace"), receive_count, started, sent_at or None)
                )
        return sorted(found, key=lambda one: one.started)

    def close(self) -> None:
        """Give the memory back."""
        self.passed()
        self.memory.close()


class NotesInHand(Stage):
    """Notes on the board what is in the slots of one run. Safe for all slots."""

    def __init__(self, board: Board) -> None:
        self._memory = board.memory
        self._memory[:] = bytes(_BYTES)
        self._free = deque(range(0, _BYTES, _ENTRY.size))
        self._places: dict[str, int] = {}

    def before(self, turn: Turn) -> None:
        """Note the message; its entry counts once it is complete."""
        received = turn.held.message
        try:
            at = self._free.popleft()
        except IndexError:  # there is no room
            return
        _ENTRY.pack_into(
            self._memory,
            at,
            received.receive_count,
            turn.started,
            received.sent_at,
            received.message_id.encode(),
        )
        self._memory[at] = 1
        self._places[received.message_id] = at

    def after(self, turn: Turn) -> None:
        """The attempt has ended, and is recorded as any other."""
        at = self._places.pop(turn.held.message.message_id, None)
        if at is not None:
            self._memory[at] = 0
            self._free.append(at)

    gave_up = after


def _new_memory() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("queuesite-in-hand", os.MFD_CLOEXEC)
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _BYTES)
    return descriptor


def _received(descriptor: Any) -> Board:
    board = Board.__new__(Board)
    number = descriptor.detach()
    board.memory, board._descriptor = mmap.mmap(number, _BYTES), number
    board.passed()
    return board
