"""The verb of `manage.py sqs` that sends messages."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from queues import messages
from queues.sqs import MAX_DELAY_SECONDS, OutgoingMessage
from queuesite.foundation.commands import QueuesiteCommand, integer
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import InvalidInput, ServerError
from queuesite.foundation.quantities import plural


class SendingVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_sending_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verb's arguments."""
        send = verb("send", "send test messages, or a message for each line of a file")
        send.add_argument(
            "count",
            metavar="COUNT",
            nargs="?",
            type=integer(1),
            help="how many messages; 1 with --body, not with --file",
        )
        source = send.add_mutually_exclusive_group()
        source.add_argument("--body", metavar="TEXT", help="body of each message (default: JSON with its number)")
        source.add_argument("--file", metavar="PATH", type=Path, help="file with a message on each line; -: stdin")
        send.add_argument(
            "--delay",
            metavar="S",
            type=integer(0, MAX_DELAY_SECONDS),
            help=f"seconds until a message can be received, up to {MAX_DELAY_SECONDS}",
        )
        send.add_argument(
            "--group",
            metavar="G",
            help="message group, which a FIFO queue needs; on others, SQS lets no group delay the rest",
        )

    def do_send(self, options: dict[str, Any]) -> None:
        """Send messages."""
        bodies = self._bodies(options)
        outgoing = [OutgoingMessage(body, delay=options["delay"], group=options["group"]) for body in bodies]
        sent = 0
        try:
            with self.progress("sending", len(outgoing)) as advance:

                def count(more: int) -> None:
                    nonlocal sent
                    sent += more
                    advance(more)

                with mongodb_errors():
                    report = messages.send(options["name"], outgoing, count, copies=options["file"] is None)
        except KeyboardInterrupt:
            raise CommandError(
                f"interrupted after {sent} of {len(outgoing)} messages were sent", returncode=130
            ) from None
        except ServerError as error:
            raise CommandError(f"{error} ({sent} of {len(outgoing)} messages were sent)", returncode=1) from error
        if report.failures:
            place, reason = next(iter(report.failures.items()))
            raise CommandError(
                f"{report.sent} of {len(outgoing)} messages sent; SQS refused {len(report.failures)}, "
                f"the first of them message {place + 1} ({reason})",
                returncode=1,
            )
        self.say(f"{plural(report.sent, 'message')} sent to {options['name']!r}")

    def _bodies(self, options: dict[str, Any]) -> list[str]:
        path: Path | None = options["file"]
        if path is not None:
            if options["count"] is not None:
                raise InvalidInput("COUNT and --file exclude each other: --file sends a message for each of its lines")
            try:
                text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
            except OSError as error:
                raise InvalidInput(f"file {str(path)!r} cannot be read: {error.strerror}") from None
            except UnicodeDecodeError as error:
                raise InvalidInput(f"file {str(path)!r} is not UTF-8 text (byte {error.start}); convert it") from None
            bodies = [line for line in text.split("\n") if line]
            if not bodies:
                raise InvalidInput(f"file {str(path)!r} has no line to send")
            return bodies
        if options["body"] is not None:
            return [options["body"]] * (options["count"] or 1)
        if options["count"] is None:
            raise InvalidInput("give COUNT, --body TEXT, or --file with a message on each line")
        return [json.dumps({"number": number, "test": True}) for number in range(1, options["count"] + 1)]
