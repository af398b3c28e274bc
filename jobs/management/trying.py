"""`manage.py sqs try`: one message through a queue's handler, in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from jobs.consumer.current_settings import spec_of
from jobs.consumer.foreground import attempt, attempt_async
from jobs.consumer.outcome import Done, GiveUp, makes_dead_letter
from jobs.consumer.settings import QueueSettings
from jobs.consumer.turn import Turn
from jobs.testing.delivery import described
from queues import services
from queues.handlers import Reject, Retry
from queuesite.foundation.commands import integer
from queuesite.foundation.errors import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what describes the message."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--body", metavar="TEXT", help="the message's body")
    source.add_argument("--file", metavar="PATH", type=Path, help="file with the body; -: stdin")
    parser.add_argument(
        "--receive-count",
        metavar="N",
        type=integer(1),
        default=1,
        help="how often it was received, this time included (default: 1)",
    )
    parser.add_argument(
        "--attribute",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        help="an attribute of the message; may be repeated",
    )
    parser.add_argument("--group", metavar="G", help="message group")


def try_message(options: dict[str, Any]) -> str:
    """Handle the message, and return the outcome in words. Raises `CommandError` with 1 unless it would be deleted.

    There is no time limit: a person may be looking around in a debugger.
    """
    queue = QueueSettings.of(services.get(options["name"]))
    spec = spec_of(queue)
    received = described(
        _body(options),
        receive_count=options["receive_count"],
        attributes=dict(map(_attribute, options["attribute"])),
        group=options["group"],
    )
    # A coroutine runs in this thread, too: a debugger in another one does not hear Ctrl-C.
    how = (lambda *given: asyncio.run(attempt_async(*given))) if spec.handler.is_async else attempt
    try:
        turn = how(received, replace(spec, timeout=None))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of the debugger, when it is left
        raise CommandError(f"the handler was left before its end ({type(error).__name__})", returncode=1) from None
    if turn.error is not None and not isinstance(turn.error, Retry | Reject):
        traceback.print_exception(turn.error)
    text = _in_words(turn, queue)
    if spec.timeout is not None and turn.ended - turn.started > spec.timeout:
        text += f"; a consumer would have ended it at its time limit of {spec.timeout:g} s"
    if isinstance(turn.outcome, Done):
        return text
    sys.stdout.flush()
    raise CommandError(text, returncode=1)


def _body(options: dict[str, Any]) -> str:
    path: Path | None = options["file"]
    if path is None:
        return str(options["body"])
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"file {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"file {str(path)!r} is not UTF-8 text (byte {error.start}); convert it") from None


def _attribute(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise InvalidInput(f"--attribute {given!r}: expected NAME=TEXT, as in tenant=7")
    return name, value


def _in_words(turn: Turn, queue: QueueSettings) -> str:
    outcome, took = turn.outcome, f"after {turn.ended - turn.started:.3f} s"
    if isinstance(outcome, Done):
        return f"done {took}: the message would be deleted"
    if isinstance(outcome, GiveUp):
        goes = "be kept and retried, since the queue has no dead-letter queue"
        if queue.dlq_url is not None:
            goes = f"go to the dead-letter queue {queue.dlq_url.rpartition('/')[2]}"
        return f"rejected {took} ({outcome.reason}): the message would {goes}"
    delay: int | None = getattr(outcome, "delay", None)  # other outcomes leave it to the queue's state
    text = f"failed {took} ({outcome.error}): the message would be " + (
        "visible again later" if delay is None else f"visible again in {delay} s"
    )
    dead = makes_dead_letter(outcome, turn.held.message.receive_count, queue)
    return f"{text}, and go to the dead-letter queue then" if dead else text
