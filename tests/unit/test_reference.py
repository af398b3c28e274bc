"""The reference in the docs is what the code has, and leaves nothing out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from write_docs import SECTIONS, commands, configuration, queue_settings, rewritten

from queues.settings import SETTINGS
from queuesite.foundation.config import Config
from tests.support.processes import ROOT


@pytest.mark.parametrize(("path", "name"), SECTIONS)
def test_section_is_made_from_the_code(path: str, name: str) -> None:
    text = (ROOT / path).read_text()
    assert rewritten(text, name, SECTIONS[path, name]()) == text, f"{path} has other {name} than the code: `make docs`"


def test_every_command_and_argument_is_documented() -> None:
    found = list(commands())
    names = {one.name for one in found}
    assert {"queuesite up", "queuesite runmaster", "queuesite qcluster", "queuesite token create"} <= names
    assert {f"queuesite sqs {verb}" for verb in ("create", "send", "set-concurrency")} <= names
    lacking = [one.name for one in found if not one.help]
    lacking += [f"{one.name} {action.dest}" for one in found for action in one.actions if not action.help]
    assert lacking == [], "give these a help text"


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Config.model_fields.items() if not field.description] == []
    assert len(re.findall(r"^\| `[A-Z_]+` \|", configuration(), re.MULTILINE)) == len(Config.model_fields)
    assert len(re.findall(r"^\| `[a-zA-Z]+` \|", queue_settings(), re.MULTILINE)) == len(SETTINGS)


def test_a_further_option_makes_the_docs_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {section: make() for section, make in SECTIONS.items()}
    command_class = type(load_command_class(get_commands()["sqs"], "sqs"))
    original = command_class.add_arguments

    def more(command: Any, parser: Any) -> None:
        original(command, parser)
        [verbs] = [action for action in parser._actions if action.dest == "verb"]
        verbs.choices["purge"].add_argument("--older-than", metavar="S", help="only messages that are older")

    monkeypatch.setattr(command_class, "add_arguments", more)
    changed = {section for section, make in SECTIONS.items() if make() != before[section]}

    assert changed == {("README.md", "commands"), ("docs/reference.md", "commands")}
    [purge] = [one for one in commands() if one.name == "queuesite sqs purge"]
    assert purge.usage == "queuesite sqs purge NAME [--yes] [--older-than S]"


def test_alternatives_are_shown_together() -> None:
    [create] = [one for one in commands() if one.name == "queuesite sqs create"]
    assert (
        "NAME [--handler HANDLER] [--handler-options JSON | --handler-options-file PATH] [--timeout N]" in create.usage
    )


@pytest.mark.parametrize("text", ["", '<!-- commands: "make docs" writes this -->\nno end'])
def test_marks_must_be_there(text: str) -> None:
    with pytest.raises(ValueError, match="expected one section between <!-- commands"):
        rewritten(text, "commands", "new")
