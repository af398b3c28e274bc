"""A team's starting point works as it is: its test passes, and its handler is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import LONGEST, ROOT, manage


def test_it_works_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "team" / "billing"
    done = manage("startqueues", str(target))
    assert done.returncode == 0, done.stderr

    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
        ".env",
        ".gitignore",
        "Dockerfile",
        "billing/__init__.py",
        "billing/handlers.py",
        "conftest.py",
        "pyproject.toml",
        "tests/test_handlers.py",
    ]
    assert [path.name for path in target.parent.iterdir()] == ["billing"]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=target, env={**os.environ, "DJANGO_SETTINGS_MODULE": ""}, capture_output=True, text=True, timeout=LONGEST,
        check=False,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout
    assert "2 passed" in tests.stdout
    # As its output says: with its settings and its package.
    assert f"QUEUESITE_HOME={target} {sys.executable} {ROOT}/manage.py up --reload" in done.stdout
    # An empty ENV_FILE, which tests have, means no file.
    home = {"QUEUESITE_HOME": str(target), "ENV_FILE": str(target / ".env")}
    listed = manage("sqs", "handlers", env=home)
    assert "billing-orders" in listed.stdout, listed.stderr


@pytest.mark.parametrize("name", ["Billing", "my-shop", "2go", "queues", "json", "shöp"])
def test_names_that_no_package_can_have(tmp_path: Path, name: str) -> None:
    done = manage("startqueues", str(tmp_path / name))

    assert done.returncode == 2
    assert f"{name!r} cannot be the name of the package of handlers" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing" / "notes.txt").write_text("mine")
    done = manage("startqueues", str(tmp_path / "billing"))
    assert done.returncode == 2
    assert "exists and is not empty" in done.stderr
    blocked = manage("startqueues", str(tmp_path / "billing" / "notes.txt" / "billing"))
    assert blocked.returncode == 2
    assert "cannot be written" in blocked.stderr

    assert [path.name for path in tmp_path.rglob("*")] == ["billing", "notes.txt"]
