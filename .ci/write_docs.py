"""The reference of the docs, made from the code: `make docs` rewrites it, and a test fails if it differs.

A section stands between `<!-- NAME: "make docs" writes this -->` and `<!-- end of NAME -->`. Commands are made from
their parsers, the configuration from `queuesite.foundation.config`, a queue's settings from `queues.settings`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from queues.health.names import NONE
from queues.settings import SETTINGS, Setting
from queuesite.foundation.command_line import PROCESSES, own_commands
from queuesite.foundation.config import Config, mask

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Command:
    """A command, or a verb of one, as it is called."""

    name: str
    help: str
    actions: tuple[argparse.Action, ...] = ()
    #: Actions of which one at most may be given.
    alternatives: tuple[tuple[argparse.Action, ...], ...] = ()

    @property
    def usage(self) -> str:
        """The command with its arguments, and then its options."""
        parts = [self.name, *(_argument(one) for one in self.actions if not one.option_strings)]
        done: list[argparse.Action] = []
        for one in self.actions:
            if one.option_strings and one not in done:
                together = next((some for some in self.alternatives if one in some), (one,))
                parts.append(f"[{' | '.join(_option(some) for some in together)}]")
                done += together
        return " ".join(parts)


def _argument(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    return f"[{name}]" if action.nargs == "?" else name


def _option(action: argparse.Action) -> str:
    name = action.option_strings[-1]
    if isinstance(action, argparse.BooleanOptionalAction):
        return name.replace("--no-", "--[no-]")
    return name if action.nargs == 0 else f"{name} {action.metavar or action.dest.upper()}"


def commands() -> Iterator[Command]:
    """Every command and verb of ours by name, and those of packages that somebody has to run."""
    found = {name: [Command(f"queuesite {name}", text)] for name, text in PROCESSES.items()}
    for name, command in own_commands().items():
        found[name] = list(_verbs(f"queuesite {name}", command.create_parser("queuesite", name), command.help))
    for name in sorted(found):
        yield from found[name]


def _verbs(name: str, parser: argparse.ArgumentParser, text: str) -> Iterator[Command]:
    known = {one.dest for one in BaseCommand().create_parser("queuesite", "x")._actions}
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction):
            helps = {choice.dest: str(choice.help) for choice in one._choices_actions}
            for verb, sub in one.choices.items():
                yield from _verbs(f"{name} {verb}", sub, helps[verb])
            return
    actions = tuple(one for one in parser._actions if one.dest not in known and one.help != argparse.SUPPRESS)
    groups = tuple(tuple(group._group_actions) for group in parser._mutually_exclusive_groups)
    yield Command(name, text, actions, groups)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def overview_of_commands() -> str:
    """A row for each command."""
    return _table(("command", "what it does"), [(f"`{one.usage}`", _sentence(one.help)) for one in commands()])


def reference_of_commands() -> str:
    """Each command with its arguments and options."""
    parts = []
    for one in commands():
        parts.append(f"### `{one.name}`\n\n{_sentence(one.help)}")
        if one.actions:
            rows = [
                (f"`{_option(action) if action.option_strings else _argument(action)}`", _help(action))
                for action in one.actions
            ]
            parts.append(_table(("argument", "what it is"), rows))
    return "\n\n".join(parts)


def _help(action: argparse.Action) -> str:
    return str(action.help) % {"default": action.default} if action.help else ""


def configuration() -> str:
    """A row for each setting of the configuration."""
    rows = []
    for name, field in Config.model_fields.items():
        default = str(field.default) if isinstance(field.default, Path) else mask(name, field.default)
        rows.append((f"`{name.upper()}`", f"`{default}`" if default else "", field.description or ""))
    return _table(("setting", "default", "what it is"), rows)


def queue_settings() -> str:
    """A row for each setting of a queue."""
    heading = ("setting", "value", "default", "what it is", "SQS holds it too", "running consumers follow")
    return _table(heading, [_row(setting) for setting in SETTINGS.values()])


def _row(setting: Setting) -> tuple[str, ...]:
    kinds: dict[type, str] = {
        bool: "true or false",
        dict: "JSON object",
        str: f"text of 1 to {setting.max_length} characters",
    }
    kind = setting.limit_words if setting.limits else kinds[setting.type]
    if setting.choices:
        several = "`, `".join(one for one in setting.choices if one != NONE)
        kind = f"one or several of `{several}`, separated by commas, or `{NONE}`"
    default = setting.default_words if setting.empty else f"`{setting.default_words}`"
    commands = f"; `sqs {'`, `sqs '.join(setting.own_commands)}`" if setting.own_commands else ""
    return (
        f"`{setting.field_name}`",
        f"{kind}, or null" if setting.optional else kind,
        default,
        f"{setting.help}{commands}",
        "yes" if setting.held_by_sqs else "",
        "yes" if setting.followed else "",
    )


#: What makes each section, by the file that it stands in and its name.
SECTIONS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "commands"): overview_of_commands,
    ("README.md", "configuration"): configuration,
    ("docs/reference.md", "commands"): reference_of_commands,
    ("docs/reference.md", "settings of a queue"): queue_settings,
}


def rewritten(text: str, name: str, section: str) -> str:
    """A file's text with one of its sections replaced. Raises `ValueError` if its marks are missing."""
    begin, end = f'<!-- {name}: "make docs" writes this -->', f"<!-- end of {name} -->"
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    replaced, found = pattern.subn(lambda marks: f"{marks[1]}\n{section}\n\n{marks[2]}", text)
    if found != 1:
        raise ValueError(f"expected one section between {begin} and {end}, found {found}")
    return replaced


def main() -> Any:
    """Rewrite every section."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "queuesite.settings", "ENV_FILE": ""}
    import django

    django.setup()
    for (path, name), make in SECTIONS.items():
        file = ROOT / path
        text = file.read_text()
        changed = rewritten(text, name, make())
        if changed != text:
            file.write_text(changed)
            print(f"{path}: {name} rewritten")


if __name__ == "__main__":
    sys.exit(main())
