"""What the README says is what there is; test_reference.py has its tables."""

from __future__ import annotations

import re

from queuesite.config import Config
from queuesite.errors import ConfigError
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()


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
