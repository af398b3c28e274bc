"""What the documentation names exists: files, tests, settings, code, permissions and links."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.apps import apps

from jobs.models import EndReason
from queuesite.foundation.config import Config
from tests.screenshots.pictures import PICTURES
from tests.support.processes import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=str)
#: Files that belong to the reader's own project.
READERS_OWN = {"handlers.py"}
#: Names in capitals that are not settings: variables of other programs, of compose and of the tests, and constants.
NOT_SETTINGS = {
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "DATABASE_ROUTERS",
    "DEATHS_SHOW_SOON",
    "DJANGO_SETTINGS_MODULE",
    "ENV_FILE",
    "HOOK_TOKEN",
    "HTTPS_PROXY",
    "INSTALLED_APPS",
    "MONGO_IMAGE",
    "PYTEST_FLAGS",
    "PYTHON_IMAGE",
    "QUEUESITE_HOME",
    "SCHEMATHESIS_SEED",
    "SOON_VISIBLE",
    "SQS_ENDPOINT_STRATEGY",
    "YIELD_SECONDS",
}
_FILE = re.compile(r"(?:[\w.-]+/)*[\w-][\w.-]*\.(?:py|md|toml|yaml|txt|lock|js|css|html)")
_DIRECTORY = re.compile(r"(?:\w[\w-]*/)+")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def paths() -> frozenset[str]:
    """The files and directories of the repository, from its root, except hidden ones."""
    found: set[str] = set()
    for directory, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        relative = Path(directory).relative_to(ROOT)
        found.update(str(relative / name) for name in (*names, *folders))
    return frozenset(found)


def spans(page: Path) -> set[str]:
    """The texts in backticks, without blocks of code."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)}


def missing(named: Iterable[str]) -> list[str]:
    """Those names that no path of the repository has or ends with."""
    return sorted(name for name in named if not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in paths()))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pages
def test_files_and_directories_exist(page: Path) -> None:
    top = {path.partition("/")[0] for path in paths() if "/" in path}
    named = {
        span
        for span in spans(page)
        if _FILE.fullmatch(span) or _DIRECTORY.fullmatch(span) or ("/" in span and span.partition("/")[0] in top)
    }

    assert missing(named - READERS_OWN) == []


def test_each_promise_names_its_tests() -> None:
    rows = re.findall(r"^\| \d \|.*\| ([^|]+) \|$", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)
    tests = [re.findall(r"`([^`]+)`", row) for row in rows]

    assert len(tests) == 6
    assert all(any(Path(test).name.startswith(f"test_promise_{n}_") for test in row) for n, row in enumerate(tests, 1))
    assert missing(test for row in tests for test in row) == []


@pages
def test_settings_exist(page: Path) -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", page.read_text()))

    assert named - NOT_SETTINGS - {name.upper() for name in Config.model_fields} == set()


def test_no_exception_is_left_over() -> None:
    text = "".join(page.read_text() for page in PAGES)

    assert [name for name in sorted(READERS_OWN | NOT_SETTINGS) if name not in text] == []


@pages
def test_code_and_permissions_exist(page: Path) -> None:
    named = {
        m[1] for span in spans(page) if (m := re.fullmatch(r"((?:jobs|queues|queuesite)(?:\.\w+)+)(?:\(\))?", span))
    }

    assert sorted(name for name in named if not is_permission(name) and not is_code(name)) == []


def is_permission(name: str) -> bool:
    """Whether a model has the permission."""
    app, _, code = name.partition(".")
    return any(
        code in {f"{verb}_{model._meta.model_name}" for verb in model._meta.default_permissions}
        or code in {codename for codename, _ in model._meta.permissions}
        for model in apps.get_app_config(app).get_models()
    )


def is_code(name: str) -> bool:
    """Whether it is a module or an attribute of one."""
    parent, _, attribute = name.rpartition(".")
    module = importlib.import_module(parent)
    return hasattr(module, attribute) or (hasattr(module, "__path__") and importlib.util.find_spec(name) is not None)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_each_picture_is_used_and_is_one_that_the_command_takes() -> None:
    """`make screenshots` takes those of the admin."""
    images = ROOT / "docs" / "images"
    used = {
        (page.parent / path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
        if ":" not in path
    }
    assert used == {path for path in images.rglob("*") if path.is_file()}
    assert {picture.file for picture in PICTURES} == {path.name for path in images.glob("admin/*")}


def test_every_reason_for_the_end_of_a_run_is_explained() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert [reason.value for reason in EndReason if f"`{reason.value}`" not in page] == []
