"""Files that no other user of the machine can read: DATA_DIR and the secrets that are generated in it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: The umask of every process that writes into DATA_DIR.
UMASK = 0o077

DATABASE = "queuesite.sqlite3"
SECRET_KEY = "secret_key"  # noqa: S105 (the file's name)
#: What we create in DATA_DIR. A folder with one of these is ours.
_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", SECRET_KEY, "admin-password", "embedded.json", "up.lock")
_FOLDERS = ("mongodb", "sqs")


def make_private(directory: Path) -> None:
    """Create DATA_DIR, or make an existing one and our files in it private. Raises `OSError`.

    The mode of a folder that has only other files (/tmp, a home directory) stays as it is, since others may need it. So
    does that of a folder that belongs to another user, as a volume may.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = set(os.listdir(directory))
    if not found or not found.isdisjoint((*_FILES, *_FOLDERS)):
        _close(directory, 0o700)
    for name in found.intersection(_FILES):
        _close(directory / name, 0o600)
    for name in found.intersection(_FOLDERS):
        _close(directory / name, 0o700)


def touch_private(path: Path) -> None:
    """Create an empty file with mode 0600, if there is none. Raises `OSError`."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The text of the file `path`, which the first process that needs it writes from `make()` (mode 0600)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        touch_private(draft)
        draft.write_text(make())
        try:
            os.link(draft, path)  # atomic, and does not replace the file if another process was faster
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


def _close(path: Path, mode: int) -> None:
    with suppress(FileNotFoundError):  # SQLite removes its log when the last process leaves
        status = path.lstat()
        shared = status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX or stat.S_ISLNK(status.st_mode)
        if status.st_mode & UMASK and not shared:
            path.chmod(mode)
