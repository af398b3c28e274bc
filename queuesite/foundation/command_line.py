"""The command line itself: which commands there are, and how any of them begins and ends."""

from __future__ import annotations

import difflib
import errno
import os
import select
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from django.apps import apps
from django.core.management import ManagementUtility, find_commands, get_commands, load_command_class
from django.core.management.base import BaseCommand

from queuesite.foundation import starting
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import ServerError
from queuesite.foundation.home import OURS

#: Commands of packages that an installation runs all the time, with better words than the package's.
PROCESSES = {"qcluster": "Run the background tasks (django-q2), such as the hourly sync and the record of the backlog."}
#: What a shell reports for a program that SIGPIPE ended.
_BROKEN_PIPE = 141


class CommandLine(ManagementUtility):
    """Django's command line, except that an unknown command ends with exit code 2, as all wrong input does."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """The command's object, with which all is imported. Exits with code 2 and a suggestion if there is none."""
        known = get_commands()
        if subcommand not in known:
            close = difflib.get_close_matches(subcommand, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"{self.prog_name} help lists them"
            sys.stderr.write(f"{self.prog_name}: unknown command {subcommand!r}; {hint}\n")
            sys.exit(2)
        command = super().fetch_command(subcommand)
        starting.begun()
        return command

    def main_help_text(self, commands_only: bool = False) -> str:
        """Our commands with what they do, and the names of the others."""
        if commands_only:
            return super().main_help_text(commands_only)
        own = {name: command.help for name, command in own_commands().items()} | PROCESSES
        others = sorted(set(get_commands()) - set(own))
        indent = max(map(len, own)) + 4
        wrapper = textwrap.TextWrapper(min(shutil.get_terminal_size().columns, 110), subsequent_indent=" " * indent)
        lines = [wrapper.fill(f"  {name:{indent - 2}}{text}") for name, text in sorted(own.items())]
        wrapper.subsequent_indent = ""
        return "\n".join(
            (
                f"usage: {self.prog_name} COMMAND …",
                "",
                *lines,
                "",
                f"`{self.prog_name} COMMAND --help` explains a command's arguments.",
                "",
                wrapper.fill("Commands of Django and its packages: " + ", ".join(others)),
            )
        )


def own_commands() -> dict[str, BaseCommand]:
    """Queuesite's own commands by name, without those of Django, its packages and a team's apps."""
    return {
        name: load_command_class(app.name, name)
        for app in apps.get_app_configs()
        if app.name.partition(".")[0] in OURS
        for name in find_commands(str(Path(app.path, "management")))
    }


def execute(argv: Sequence[str]) -> int:
    """Run a command of ours or Django's and flush its output. Returns the exit code, unless `SystemExit` carries it.

    If the reader of its output has left (`… | head`), the command ends silently with 141, as SIGPIPE ends other
    programs. If the output cannot be written for another reason (a full disk), it ends with 1 and one line.
    """
    try:
        try:
            with mongodb_errors():
                CommandLine(list(argv)).execute()
        finally:
            sys.stdout.flush()
    except ServerError as error:  # of a command of Django's; ours have translated them
        if "--traceback" in argv:
            raise
        print(f"{argv[0]}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _readers_have_left():
            _drop_output()
            return _BROKEN_PIPE
        if error.errno == errno.ENOSPC and not error.filename:
            _drop_output(sys.stdout)
            print(f"{argv[0]}: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
            return 1
        raise
    return 0


def _readers_have_left() -> bool:
    """Whether the broken pipe is our own output, and not a connection or a pipe to a child."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)  # POLLERR (no reader is left) is always reported
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _drop_output(*streams: IO[str]) -> None:
    """Discard buffered output: otherwise the interpreter's flush at exit would complain and exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams or (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
