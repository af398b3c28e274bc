"""The base of our management commands: one-line errors on stderr with exit codes, tables, JSON, confirmation."""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from queuesite import __version__
from queuesite.foundation.actor import acting
from queuesite.foundation.clock import rfc3339
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import configure

#: So many choices are listed where none is like what was typed.
_FEW_CHOICES = 8


class QueuesiteCommand(BaseCommand):
    """A command whose `run()` may raise any `QueuesiteError` or pymongo error, which becomes one line and an exit code.

    Exit codes: 0 success, 1 a server is at fault, 2 the input is wrong, 130 interrupted.
    """

    # Masters and workers must run without Django's relational database, and the admin's checks slow every start.
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it
    requires_migrations_checks = False
    #: Django's options work, but are of little use here, and would hide a command's own in its help.
    suppressed_base_arguments = {  # noqa: RUF012 - as Django declares it
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color")
    }
    #: Log only warnings, since the command's output says the rest. Long-running commands set this to False.
    quiet = True

    #: How the command was called, if it was called on the command line.
    called: str | None = None

    def run(self, **options: Any) -> None:
        """Do the command's work."""
        raise NotImplementedError

    def run_from_argv(self, argv: list[str]) -> None:
        """Django's entry point on the command line."""
        self.called = f"{Path(argv[0]).name} {argv[1]}"
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command. On the command line an error is one line like those of its parser, and an exit code.

        Django would write the name of its exception before it.
        """
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            if self.called is None or options.get("traceback"):
                raise
            verb = options.get("verb")
            self.stderr.write(f"{self.called}{f' {verb}' if verb else ''}: {error}")
            sys.exit(error.returncode)

    def get_version(self) -> str:
        """What `--version` prints: Queuesite's version in place of Django's."""
        return __version__

    def handle(self, *args: Any, **options: Any) -> None:
        """Django's entry point: calls `run` and translates its errors."""
        if self.quiet and get_config().log_level == "INFO":
            configure("WARNING", get_config().log_format)
        try:
            with mongodb_errors(), acting(_operator if self.quiet else _nobody):
                self.run(**options)
        except QueuesiteError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=130) from None

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """The parser, whose errors are one line, as those of its subcommands are."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = Parser  # Django gives no way to choose it
        return parser

    @property
    def console(self) -> Console:
        """Where results go. Without a terminal there are no colours, and tables are as wide as they need to be."""
        return _Console(
            file=cast(IO[str], self.stdout),
            width=None if self.stdout.isatty() else 10_000,
            # The output is data, which must not be interpreted as markup.
            markup=False,
            emoji=False,
            highlight=False,
        )

    def warn(self, text: str) -> None:
        """Print a line on stderr: what was done has a consequence that the caller may not expect."""
        self.stderr.write(f"warning: {text}")

    def say(self, text: str) -> None:
        self.stdout.write(text)

    def print_json(self, value: Any) -> None:
        """Print `value` as JSON, with dates as RFC 3339 with milliseconds and ObjectIds as strings."""
        self.stdout.write(json.dumps(value, default=_jsonable, ensure_ascii=False))

    def print_table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: Iterable[str] = ()
    ) -> None:
        """Print a table. `numeric` names the columns that are aligned to the right."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        right = set(numeric)
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a bar on stderr if that is a terminal; stdout has only results.

        Yields what to call with the number of things done since the last call. `total` None: it is not known.
        """
        bar = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda more: bar.advance(task, more)

    def confirm(self, question: str, *, assume_yes: bool) -> bool:
        """Ask on the terminal, unless `--yes` was given. Raises `CommandError` if nobody can answer."""
        if assume_yes:
            return True
        if not sys.stdin.isatty():
            raise CommandError(
                f"{question} Cannot ask, since stdin is not a terminal; add --yes to confirm", returncode=2
            )
        try:
            return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
        except EOFError:
            raise CommandError("no answer; add --yes to confirm", returncode=2) from None


def _nobody() -> str:
    """What masters, workers and servers do is the system's own doing."""
    return ""


def _operator() -> str:
    """The user of the operating system who runs the command."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # no user has this process's id, as in a container
        return "command line"


class _Console(Console):
    """rich's console, except that it leaves a broken pipe to `command_line.execute`."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error


class Parser(CommandParser):
    """A subcommand's parser: its errors are one line that points to `--help`."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is unknown here: otherwise the parser above would, which knows less of it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            self.error(f"unknown argument {unknown[0]!r}" + (f", did you mean {close[0]}?" if close else ""))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line, since a usage text would hide the error."""
        self.exit(2, f"{self.prog}: {_in_short(message)}; see {self.prog} --help\n")


def _in_short(message: str) -> str:
    """What argparse says, with the nearest of many choices in place of all, and a number called a number."""
    message = re.sub(r"invalid int value: ('.*')$", r"\1 is not a whole number", message)
    message = re.sub(r"invalid float value: ('.*')$", r"\1 is not a number", message)
    wrong = re.fullmatch(r"(.*: invalid choice: )'(.*)' \(choose from (.*)\)", message)
    if wrong is None:
        return message
    choices = [choice.strip("' ") for choice in wrong[3].split(",")]
    close = difflib.get_close_matches(wrong[2], choices, n=1)
    if not close and len(choices) <= _FEW_CHOICES:
        return message
    return f"{wrong[1]}{wrong[2]!r}" + (f" (did you mean {close[0]!r}?)" if close else "")


def number(expected: str) -> Any:
    """An argparse type: an integer. Its error names the value and what was expected."""

    def parse(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number; expected {expected}") from None

    return parse


def integer(low: int, high: int | None = None) -> Any:
    """An argparse type: an integer within limits. Its errors name the value and what was expected."""
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        value: int = number(expected)(text)
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{value} is out of range; expected {expected}")
        return value

    return parse


def _jsonable(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, ObjectId):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
