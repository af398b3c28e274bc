"""A team's starting point works as it is: its test passes, and its handler is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

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
    with pytest.raises(CommandError, match=f"{name!r} cannot be the name of the package of handlers") as refused:
        call_command("startqueues", str(tmp_path / name))

    assert refused.value.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing" / "notes.txt").write_text("mine")
    with pytest.raises(CommandError, match="exists and is not empty") as refused:
        call_command("startqueues", str(tmp_path / "billing"))
    assert refused.value.returncode == 2
    with pytest.raises(CommandError, match="cannot be written") as blocked:
        call_command("startqueues", str(tmp_path / "billing" / "notes.txt" / "billing"))
    assert blocked.value.returncode == 2

    assert [path.name for path in tmp_path.rglob("*")] == ["billing", "notes.txt"]
