"""`manage.py sqs try`: one message through a queue's handler, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from queues import repository, services
from tests.integration.test_manage import complaint
from tests.support.processes import manage

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from types_boto3_sqs.client import SQSClient

HANDLERS = """
    import logging
    from queues.handlers import Reject, Retry, handler

    @handler("tried")
    def tried(message):
        logging.warning("handling")
        print(message.receive_count, message.group, dict(message.attributes), message.queue)
        if message.body == "retry":
            return Retry("later", delay=60)
        if message.body == "reject":
            raise Reject("no")
        if message.body == "fail":
            raise LookupError("nowhere")
        secret = message.body.upper()
        if message.body == "debug":
            breakpoint()
        return secret

    @handler("tried_async", timeout=0.001)
    async def tried_async(message):
        secret = message.body.upper()
        breakpoint()
"""


class Trial:
    def __init__(self, directory: Path) -> None:
        self.env = {"HANDLER_MODULES": "handlers_that_are_tried", "PYTHONPATH": str(directory), "LOG_FORMAT": "json"}

    def __call__(self, *args: str, stdin: str = "", queue: str = "orders") -> CompletedProcess[str]:
        return manage("sqs", "try", queue, *args, env=self.env, stdin=stdin)


@pytest.fixture
def trial(tmp_path: Path, queues: SQSClient) -> Trial:
    lines = [line.removeprefix("    ") for line in HANDLERS.splitlines()]
    (tmp_path / "handlers_that_are_tried.py").write_text("\n".join(lines))
    for name, handler in (("orders", "tried"), ("slow", "tried_async")):
        repository.update(services.create(name).id, {"handler": handler})  # of which this process knows nothing
    return Trial(tmp_path)


def test_a_message_that_is_done(trial: Trial, queues: SQSClient) -> None:
    ended = trial("--body", "x", "--receive-count", "3", "--attribute", "tenant=7", "--attribute", "a=b=c")

    assert ended.returncode == 0, ended.stderr
    shown, outcome = ended.stdout.splitlines()
    assert shown == "3 None {'tenant': '7', 'a': 'b=c'} orders"
    assert outcome.startswith("done after ")
    assert outcome.endswith(" s: the message would be deleted")
    assert '"queue": "orders"' in ended.stderr
    assert services.size("orders").depth.total == 0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("retry", "(later): the message would be visible again in 60 s"),
        ("reject", "(no): the message would go to the dead-letter queue"),
        ("fail", "(LookupError: nowhere): the message would be visible again in"),
    ],
)
def test_a_message_that_is_not(trial: Trial, body: str, told: str) -> None:
    ended = trial("--file", "-", stdin=body)

    assert ended.returncode == 1
    assert told in ended.stderr
    assert ("Traceback" in ended.stderr) == (body == "fail")


def test_the_debugger_has_the_terminal(trial: Trial) -> None:
    ended = trial("--body", "debug", stdin="p secret\nc\n")

    assert ended.returncode == 0, ended.stderr
    assert "'DEBUG'" in ended.stdout


def test_the_debugger_has_the_terminal_in_a_coroutine_and_takes_its_time(trial: Trial) -> None:
    ended = trial("--body", "slow", stdin="p secret\nc\n", queue="slow")

    assert ended.returncode == 0, ended.stderr
    assert "'SLOW'" in ended.stdout
    assert "a consumer would have ended it at its time limit of 0.001 s" in ended.stdout


def test_leaving_the_debugger(trial: Trial) -> None:
    ended = trial("--body", "debug", stdin="q\n")

    assert ended.returncode == 1
    assert "the handler was left before its end (BdbQuit)" in ended.stderr


def test_bad_input(trial: Trial) -> None:
    assert "expected NAME=TEXT" in complaint(trial("--body", "x", "--attribute", "tenant"), 2)
    assert "--body" in complaint(trial(), 2)
    assert "cannot be read" in complaint(trial("--file", "/nowhere"), 2)
    assert "there is no queue" in complaint(trial("--body", "x", queue="nobody"), 2)
