"""Who may read DATA_DIR."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuesite.foundation.private import make_private, touch_private


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_folder_is_its_owner_s(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "data")
    assert mode(tmp_path / "a" / "data") == 0o700


@pytest.mark.parametrize("name", ["queuesite.sqlite3", "secret_key", "embedded.json", "up.lock"])
def test_an_open_folder_of_ours_is_closed(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    for folder in (data, data / "mongodb", data / "sqs"):
        folder.mkdir(mode=0o755)
    (data / name).write_text("x")
    make_private(data)
    assert {path.name: mode(path) for path in (data, *data.iterdir())} == {
        "data": 0o700,
        "mongodb": 0o700,
        "sqs": 0o700,
        name: 0o600,
    }


def test_a_folder_that_others_use_stays_open_but_what_is_ours_in_it_does_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "letter").write_text("to all")
    make_private(data)
    assert (mode(data), mode(data / "letter")) == (0o755, 0o644)


def test_a_shared_folder_stays_open(tmp_path: Path) -> None:
    """/tmp, say, with the sticky bit: others have their files in it."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o1777)
    (data / "queuesite.sqlite3").write_text("x")
    make_private(data)
    assert (mode(data), mode(data / "queuesite.sqlite3")) == (0o1777, 0o600)


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret_key").symlink_to(tmp_path / "elsewhere")
    make_private(tmp_path / "data")
    assert mode(tmp_path / "elsewhere") == 0o644


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("kept")
    touch_private(tmp_path / "x")
    touch_private(tmp_path / "y")
    assert (tmp_path / "x").read_text() == "kept"
    assert mode(tmp_path / "y") == 0o600
