"""`queuesite completion`: a script for the shell that completes commands, verbs and options."""

from __future__ import annotations

import argparse
from typing import Any

import shtab
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandParser

from queuesite.foundation.command_line import own_commands
from queuesite.foundation.commands import QueuesiteCommand

SHELLS = ("bash", "zsh", "fish")
#: Commands of packages that an installation needs.
OTHERS = ("changepassword", "check", "collectstatic", "createsuperuser", "migrate", "qcluster")
_BY_METAVAR = {"PATH": shtab.FILE, "DIR": shtab.DIRECTORY}


class Command(QueuesiteCommand):
    """Prints the script, which is made from the parsers, so it needs no server and no start of Python when it runs."""

    help = 'Print a script that completes commands and options; in bash and zsh: eval "$(queuesite completion bash)".'

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"the shell: {', '.join(SHELLS)}")

    def run(self, **options: Any) -> None:
        """Print it."""
        self.say(shtab.complete(_whole_parser(), options["shell"]))


def _whole_parser() -> argparse.ArgumentParser:
    """One parser with all commands below it, without the options that Django gives every command."""
    common = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    whole = argparse.ArgumentParser(prog="queuesite")
    whole.add_argument("--version", action="store_true", help="show the version")
    commands = whole.add_subparsers(metavar="COMMAND")
    modules = get_commands()
    others = {name: load_command_class(modules[name], name) for name in OTHERS}
    for name, command in sorted({**own_commands(), **others}.items()):
        parser = command.create_parser("queuesite", name)
        _adapt(parser, common - {"-h", "--help"})
        commands.add_parser(name, help=command.help, parents=[parser], add_help=False)
    return whole


def _adapt(parser: argparse.ArgumentParser, hidden: set[str]) -> None:
    for action in parser._actions:
        if hidden & set(action.option_strings):
            action.help = argparse.SUPPRESS
        elif isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _adapt(below, hidden)
        elif action.metavar in _BY_METAVAR:
            action.complete = _BY_METAVAR[str(action.metavar)]  # type: ignore[attr-defined]  # shtab reads it
