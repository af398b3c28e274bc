"""`manage.py up --reload`: code that changes is used by workers within moments, and code that is wrong is not.

It runs on the servers of the test run, which stand for a MongoDB and an SQS of one's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_up import Up
from tests.support.living import command_line
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

CODE = """
from pathlib import Path
from queues.handlers import handler

@handler("dev")
def dev(message):
    with Path({ledger!r}).open("a") as ledger:
        ledger.write({version!r} + message.body + "\\n")
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    module = tmp_path / "code" / "dev_handlers.py"
    module.parent.mkdir()
    module.write_text(CODE.format(ledger=str(tmp_path / "ledger"), version="old "))
    path = os.pathsep.join(filter(None, [str(module.parent), os.environ.get("PYTHONPATH")]))
    servers = {name: os.environ[name] for name in ("MONGODB_URI", "AWS_SQS_ENDPOINT", "QUEUE_NAME_PREFIX")}
    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    started = Up(tmp_path / "data", "--reload", HANDLER_MODULES="dev_handlers", PYTHONPATH=path, **servers, **keys)
    yield started
    started.end()


@pytest.mark.usefixtures("queues")
def test_code_is_followed_and_configured_servers_are_used(up: Up, tmp_path: Path) -> None:
    module, ledger = tmp_path / "code" / "dev_handlers.py", tmp_path / "ledger"

    def change(text: str) -> None:
        draft = module.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(module)

    def handled(line: str) -> None:
        up.manage("sqs", "send", "dev", "1", "--body", line.split()[1])
        eventually(lambda: ledger.exists() and line in ledger.read_text().splitlines(), 90.0, f"{line!r} was handled")

    up.wait_ready()
    commands = list(map(command_line, up.children()))
    assert [line for line in commands if "runworker" in line]
    assert not [line for line in commands if "secantusd" in line or "ministack" in line]
    assert "embedded" not in up.output
    up.says("watching the code of handlers")
    up.manage("sqs", "create", "dev", "--handler", "dev")
    handled("old 1")
    change(CODE.format(ledger=str(ledger), version="new ") + "undefined_name\n")
    up.says(r"worker-1 +\| .*dev_handlers .*NameError: name 'undefined_name' is not defined \(\S+dev_handlers.py:9\)")
    up.says("the new code does not start, see the error above; still with the old code: worker-1")
    handled("old 2")
    change(CODE.format(ledger=str(ledger), version="new "))
    up.says("worker-1 has the new code")
    eventually(lambda: up.output.count("worker_stopped") == 1, 90.0, "the old worker has left")
    handled("new 3")
    # Ctrl-C in a terminal is SIGINT.
    assert up.stop(signal.SIGINT) == 0
    up.leaves_nothing()
