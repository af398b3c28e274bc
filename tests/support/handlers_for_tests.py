"""Handlers for the tests' real processes: HANDLER_MODULES=tests.support.handlers_for_tests, LEDGER_DIR=a directory.

Each writes what it does to the ledger (`tests.support.ledger`), a file that the system does not use. A
message itself says how it is to be handled, if its body is a JSON object with the key `do`:

    {"do": {"sleep": 0.5}}                 takes that long, instead of the queue's option `sleep`
    {"do": {"slow": 4, "times": 1}}        takes that long at its first receive
    {"do": {"fail": 2}}                    fails at its first two receives
    {"do": {"raise": "text"}}              fails at each receive, and says this
    {"do": {"retry": 1.5, "times": 2}}     asks for a retry after 1.5 s at its first two receives
    {"do": {"reject": "reason"}}           is rejected
    {"do": {"die": 9, "times": 1}}         ends its process by this signal at its first receive
    {"do": {"exit": 3, "times": 1}}        ends its process with this exit code
    {"do": {"fork": 3}}                    forks a child that ends by sys.exit(3), and waits for it
    {"do": {"program": ["sleep", "60"]}}   starts this program and terminates it
    {"do": {"hold": 60}}                   takes that long and holds the interpreter's lock
    {"do": {"wait": "name"}}               waits until the file `name` is in the ledger's directory
    {"do": {"need": "name"}}               fails as `Unavailable` unless the file `name` is in the ledger's directory
    {"do": {"grow": 80}}                   makes its process keep this many MiB more
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from queues.handlers import Message, Reject, Retry, Unavailable, handler
from tests.support.ledger import Ledger

#: Most seconds that a handler waits for a file.
LONGEST_WAIT = 60.0


class RecorderOptions(BaseModel):
    """Options of the handlers."""

    model_config = ConfigDict(extra="forbid")

    sleep: float = 0


@handler("recorder", options=RecorderOptions)
def recorder(message: Message) -> None:
    """Record the start and the end of handling each message."""
    with Ledger.of_environment().handling(message):
        what = instructions(message)
        if "wait" in what:
            _wait_for(Path(os.environ["LEDGER_DIR"]) / what["wait"])
        if "need" in what and not (Path(os.environ["LEDGER_DIR"]) / what["need"]).exists():
            raise Unavailable(what["need"])
        if "program" in what:
            _run_and_terminate(what["program"])
        if "fork" in what:
            _fork(what["fork"])
        if "hold" in what:
            ctypes.PyDLL(None).sleep(what["hold"])  # a PyDLL's functions are called with the interpreter's lock held
        time.sleep(_seconds(message, what))
        _act(message, what)


@handler("async_recorder", options=RecorderOptions)
async def async_recorder(message: Message) -> None:
    """As `recorder`, on the event loop."""
    with Ledger.of_environment().handling(message):
        what = instructions(message)
        await asyncio.sleep(_seconds(message, what))
        _act(message, what)


@handler("batch_recorder", batch=10, linger=0.3)
def batch_recorder(messages: list[Message]) -> dict[str, BaseException]:
    """Record each message of a batch, and how many there are together."""
    failed: dict[str, BaseException] = {}
    (Path(os.environ["LEDGER_DIR"]) / f"batch-of-{len(messages)}").touch()
    for message in messages:
        try:
            with Ledger.of_environment().handling(message):
                _act(message, instructions(message))
        except Exception as error:
            failed[message.id] = error
    return failed


def instructions(message: Message) -> dict[str, Any]:
    """The instructions in a body."""
    try:
        body = json.loads(message.body)
    except ValueError:
        return {}
    found = body.get("do") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _seconds(message: Message, what: dict[str, Any]) -> float:
    options = message.options
    assert isinstance(options, RecorderOptions)
    if "slow" in what and message.receive_count <= what.get("times", 1_000):
        return float(what["slow"])
    return float(what.get("sleep", options.sleep))


#: What handlers have kept, as a leak does.
_kept: list[bytes] = []


def _act(message: Message, what: dict[str, Any]) -> None:
    if "grow" in what:
        _kept.append(b"x" * (what["grow"] * 1_048_576))
    if "leave_thread" in what:
        threading.Thread(target=time.sleep, args=(what["leave_thread"],), daemon=False).start()
    if message.receive_count > what.get("times", what.get("fail", 1_000)):
        return
    if "die" in what:
        os.kill(os.getpid(), what["die"])
        time.sleep(LONGEST_WAIT)  # a signal's delivery may take a moment
    if "exit" in what:
        os._exit(what["exit"])
    if "retry" in what:
        raise Retry("the body asks for it", delay=what["retry"])
    if "reject" in what:
        raise Reject(what["reject"])
    if "raise" in what:
        raise RuntimeError(what["raise"])
    if "fail" in what:
        raise RuntimeError("the body asks for it")


def _fork(code: int) -> None:
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # ends the child if it goes on as a consumer
        sys.exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended != code:
        raise RuntimeError(f"the child ended with {ended}, not with {code}")


def _run_and_terminate(program: list[str]) -> None:
    with subprocess.Popen(program) as process:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.01)
