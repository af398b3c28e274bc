"""A full disk, said in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from queuesite import disk


def test_too_little_space_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [3 << 20, disk.NEEDED_MB << 20]
    monkeypatch.setattr(shutil, "disk_usage", lambda directory: SimpleNamespace(free=free.pop(0)))

    assert disk.problem(Path("/data")) == (
        "DATA_DIR=/data: its disk has only 3 MB free; free 64 MB, or name a directory on another disk"
    )
    assert disk.problem(Path("/data")) is None


def test_panic_of_a_storage_engine_is_one_line() -> None:
    """Lines of SecantusDB and ministack as they were seen."""
    screen = disk.FullDiskScreen(Path("/data"))
    lines = [
        "WARNING secantus.oplog: trimmed",
        "[1795702618:114398][19120:0x7f68], WT_SESSION.checkpoint: [ERROR]: pwrite: failed: No space left on device",
        "[1795702618:114471][19120:0x7f68], WT_SESSION.checkpoint: [ERROR]: WT_PANIC: WiredTiger library panic",
        "Traceback (most recent call last):",
    ]

    shown = [line for line in map(screen, lines) if line is not None]

    assert shown == [lines[0], "the disk is full: free space for DATA_DIR=/data, then start `up` again"]
    sqs = disk.FullDiskScreen(Path("/data"))
    assert "the disk is full" in str(sqs("ERROR [persistence] failed to save sqs: [Errno 28] No space left on device"))
