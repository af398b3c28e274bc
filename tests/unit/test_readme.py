"""What the README says of settings and commands is what there is."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from jobs.management.commands.sqs import Command
from queuesite.config import Config, mask
from queuesite.errors import ConfigError
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()
ROWS = {
    m[1]: (m[2].strip(" `"), m[3].strip()) for m in re.finditer(r"^\| `([A-Z_]+)` \|([^|]*)\|([^|]*)\|$", README, re.M)
}


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    assert set(ROWS) == {name.upper() for name in Config.model_fields}


@pytest.mark.parametrize("name", list(Config.model_fields))
def test_default_and_description_are_the_configuration_s(name: str) -> None:
    field = Config.model_fields[name]
    shown = str(field.default) if isinstance(field.default, Path) else mask(name, field.default)
    assert ROWS[name.upper()] == (shown, field.description)


def test_every_verb_of_the_command_line_is_in_the_table() -> None:
    parser = Command().create_parser("manage.py", "sqs")
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    table = re.findall(r"^\| `manage\.py sqs ([a-z-]+)|, `([a-z-]+) NAME`", README, re.M)
    assert {one or two for one, two in table} == set(verbs)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http|#)([^)]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_unit_of_systemd_fits_the_code() -> None:
    [text] = re.findall(r"^```ini\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    unit = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))

    assert unit["RestartPreventExitStatus"] == str(ConfigError.exit_code)
    assert int(unit["TimeoutStopSec"]) > Config.model_fields["shutdown_grace_seconds"].default
    assert {"Wants", "RestartSec", "UMask", "NoNewPrivileges", "ProtectSystem"} <= set(unit)


def test_versions_of_the_embedded_servers_are_the_makefiles() -> None:
    newest = re.search(r"^SERVERS_NEWEST := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert newest is not None
    assert f"Python 3.11, 3.12 or {newest[1]}." in README
