"""How the value of an option is typed and shown: a list as lines, a duration as `5 min`, and so on. Pure.

`read` and `written` are each other's inverse. Whatever a text cannot express in its field's own way is shown as JSON,
which each field of several values takes as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from queues.handlers.secrets import is_reference
from queuesite.foundation.quantities import in_words, seconds_of

if TYPE_CHECKING:
    from queues.handlers.option_fields import Field

_DURATIONS = TypeAdapter(timedelta)


def read(field: Field, text: str) -> Any:
    """The value that was typed. What is not a value of its kind is left as it is, for the schema to refuse.

    Raises `ValueError`, whose text names the line, for what cannot be read at all.
    """
    if is_reference(text):
        return text
    match field.kind:
        case "number" | "scalar":
            return _scalar(text, texts=field.kind == "scalar")
        case "duration":
            return _duration(text)
        case "choice":
            return next((one for one in field.choices if shown(one) == text), text)
        case "list" | "mapping":
            if (parsed := _json(text, list if field.kind == "list" else dict)) is not None:
                return parsed
            return _lines(field, text) if field.kind == "list" else _pairs(field, text)
        case "json":
            try:
                return json.loads(text, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"is not JSON: {error}") from None
        case _:
            return text


def written(field: Field, value: Any) -> str:
    """The text that `read` takes for this value; empty for None."""
    if value is None:
        return ""
    text = _text_of(field, value)
    try:
        same = text.strip() == text and bool(text) and read(field, text) == value
    except ValueError:
        same = False
    return text if same or (isinstance(value, str) and field.kind != "scalar") else _dumped(value)


def words(field: Field, value: Any) -> str:
    """A value in words, such as `1 minute 30 seconds`, `yes`, `a, b`, or `none`."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "":
        return "empty"
    if field.kind == "duration" and (seconds := _seconds(value)) is not None:
        return in_words(seconds)
    if isinstance(value, list) and field.item is not None:
        return ", ".join(words(field.item, one) for one in value)
    if isinstance(value, Mapping) and field.item is not None:
        return ", ".join(f"{name}: {words(field.item, one)}" for name, one in value.items())
    return shown(value)


def shown(value: Any) -> str:
    """A single value as text: a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else _dumped(value)


def _text_of(field: Field, value: Any) -> str:
    item = field.item
    if item is not None and isinstance(value, list):
        return "\n".join(written(item, one) for one in value)
    if item is not None and isinstance(value, Mapping):
        return "\n".join(f"{name}: {written(item, one)}" for name, one in value.items())
    if field.kind == "duration" and (seconds := _seconds(value)) is not None:
        return in_words(seconds)
    return _dumped(value) if field.kind == "json" else shown(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number in JSON")


def _json(text: str, kind: type) -> Any:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None


def _scalar(text: str, *, texts: bool) -> Any:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, float) and not math.isfinite(found):
        return text
    return found if isinstance(found, bool | int | float) or (texts and isinstance(found, str)) else text


def _duration(text: str) -> str:
    seconds = seconds_of(text)
    try:
        return text if seconds is None else str(_DURATIONS.dump_python(timedelta(seconds=seconds), mode="json"))
    except OverflowError:
        return text


def _seconds(value: Any) -> float | None:
    try:
        return _DURATIONS.validate_python(value).total_seconds()
    except ValidationError:
        return None


def _filled(text: str) -> Iterator[tuple[int, str]]:
    """Each line that is not empty, with its number."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _lines(field: Field, text: str) -> list[Any]:
    assert field.item is not None
    return [read(field.item, line) for _, line in _filled(text)]


def _pairs(field: Field, text: str) -> dict[str, Any]:
    assert field.item is not None
    found: dict[str, Any] = {}
    for number, line in _filled(text):
        name, separator, value = (part.strip() for part in line.partition(":"))
        if not separator or not name:
            raise ValueError(f"line {number}: expected name: value")
        if name in found:
            raise ValueError(f"line {number}: {name} is given twice")
        if not value and field.secret:
            raise ValueError(f"line {number}: {name} has no value")
        found[name] = read(field.item, value)
    return found
