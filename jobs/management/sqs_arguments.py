"""Arguments of `manage.py sqs`: JSON, and an option for each setting of a queue."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from queues.settings import Setting
from queuesite.foundation import moments
from queuesite.foundation.commands import number


def json_object(text: str) -> dict[str, Any]:
    """An argparse type: a JSON object. Errors do not quote the text, which may hold secrets."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f'the value is not JSON ({error}); expected an object like \'{{"url": "…"}}\''
        ) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('the value is not a JSON object; expected one like \'{"url": "…"}\'')
    return value


def json_file(path: str) -> dict[str, Any]:
    """An argparse type: a file with a JSON object, or - for stdin."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{path!r} is not UTF-8 text (byte {error.start}); convert it") from None
    return json_object(text)


def moment(text: str) -> datetime:
    """An argparse type: a time in UTC, as the tables have them."""
    at = moments.parse(text, UTC, datetime.now(UTC))
    if at is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time: expected {moments.EXAMPLES}, in UTC")
    return at


def add_times(parser: argparse.ArgumentParser) -> None:
    """Add the options of lists of what happened: since and until when."""
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help=f"only from this time on (UTC): {moments.EXAMPLES}"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="only before this time (UTC)")


def add_setting(parser: argparse.ArgumentParser, setting: Setting, *, required: bool = False) -> None:
    """Add the option of a setting. Its value is checked by the services, as everywhere."""
    option = f"--{setting.name.replace('_', '-')}"
    words = f"{setting.help}; {setting.limit_words}" if setting.limits else setting.help
    if setting.type is dict:
        either = parser.add_mutually_exclusive_group()
        either.add_argument(option, type=json_object, metavar="JSON", help=f"{words}; other users see it in ps")
        either.add_argument(
            f"{option}-file",
            type=json_file,
            dest=setting.name,
            metavar="PATH",
            help=f"file with the {setting.words} as JSON; -: stdin",
        )
        return
    if setting.type is bool:
        parser.add_argument(
            option,
            action=argparse.BooleanOptionalAction,
            default=None,
            help=f"{words}; without either: {setting.default_words}",
        )
        return
    parser.add_argument(
        option,
        type=number(f"a whole number from {setting.limit_words}") if setting.type is int else setting.type,
        metavar="N" if setting.type is int else "WORDS" if setting.choices else setting.name.rpartition("_")[2].upper(),
        required=required,
        help=words if required else f"{words} (default: {setting.default_words})",
    )
