"""`queuesite completion`: scripts for shells, made from the parsers."""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import cache

import pytest
from django.core.management import call_command

from queuesite.foundation.command_line import own_commands
from queuesite.management.commands.completion import SHELLS


@cache
def script(shell: str) -> str:
    said = io.StringIO()
    call_command("completion", shell, stdout=said)
    return said.getvalue()


def completed(*words: str) -> set[str]:
    """What bash offers for the last of these words."""
    asks = (
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_shtab_queuesite queuesite "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{asks}", "bash", "queuesite", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_bash_completes_commands_verbs_and_options() -> None:
    commands = completed("")
    assert set(own_commands()) | {"migrate", "qcluster"} <= commands
    assert {"create", "send", "try-now"} <= completed("sqs", "")
    assert completed("sqs", "create", "orders", "--max-c") == {"--max-consumers"}
    assert completed("completion", "") == set(SHELLS)


def test_options_that_nobody_needs_are_not_offered() -> None:
    assert "--json" in completed("sqs", "list", "--")
    assert not {"--pythonpath", "--settings", "--verbosity"} & completed("sqs", "list", "--")
    assert "--step" not in completed("up", "--")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_every_command(shell: str) -> None:
    for name in own_commands():
        assert name in script(shell)
    assert "max-receive-count" in script(shell)
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script(shell), text=True, check=True)
