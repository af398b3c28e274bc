"""The formats that a JSON Schema may ask of a text: what pydantic takes for each, and its description for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import AnyUrl, TypeAdapter

if TYPE_CHECKING:
    from jsonschema import FormatChecker


@dataclass(frozen=True)
class Format:
    """A format: the type whose texts have it, and what it is in words, with an example."""

    type: Any
    words: str


FORMATS = {
    "uri": Format(AnyUrl, "an address such as https://example.com/hook"),
    "date-time": Format(datetime, "a time such as 2026-11-26T10:00:00Z"),
    "date": Format(date, "a day such as 2026-11-26"),
    "time": Format(time, "a time of day such as 10:00:00"),
    "duration": Format(timedelta, "a duration such as 30 s, 5 min or 1 h 30 min; in JSON, PT30S"),
    "uuid": Format(UUID, "a UUID"),
    "ipv4": Format(IPv4Address, "an IPv4 address"),
    "ipv6": Format(IPv6Address, "an IPv6 address"),
}


@cache
def checker() -> FormatChecker:
    """What checks formats for jsonschema: those of `FORMATS`, as the worker's model does."""
    from jsonschema import FormatChecker

    made = FormatChecker(formats=())
    for name, one in FORMATS.items():
        made.checks(name, raises=ValueError)(_check(TypeAdapter(one.type)))
    return made


def _check(adapter: TypeAdapter[Any]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if isinstance(value, str):
            adapter.validate_python(value)  # its error is a ValueError
        return True

    return check
