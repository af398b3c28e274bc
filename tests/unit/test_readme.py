"""What the README says is what there is; test_reference.py has its tables."""

from __future__ import annotations

import re

from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()


def test_versions_of_the_embedded_servers_are_the_makefiles() -> None:
    newest = re.search(r"^SERVERS_NEWEST := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert newest is not None
    assert f"Python 3.11, 3.12 or {newest[1]}." in README
