"""The version: declared once, shown where people and programs look."""

from __future__ import annotations

import re
import sys

import pytest
from packaging.version import Version

from queuesite import __main__ as entrance
from queuesite import __version__
from queuesite.api.root import api
from queuesite.foundation.command_line import own_commands
from tests.support import last_release
from tests.support.processes import ROOT


def test_it_is_later_than_the_last_release_which_the_changelog_has() -> None:
    [newest, *_] = re.findall(r"^## (\d\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == last_release.VERSION
    assert Version(__version__) > Version(newest)


@pytest.mark.parametrize("argument", ["--version", "version"])
def test_the_command_line_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["queuesite", argument])
    assert entrance.main() == 0
    assert capsys.readouterr().out == f"queuesite {__version__}\n"


def test_its_commands_say_it_and_not_djangos() -> None:
    assert all(command.get_version() == __version__ for command in own_commands().values())


def test_the_api_says_it() -> None:
    assert api.get_openapi_schema()["info"]["version"] == __version__
