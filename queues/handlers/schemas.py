"""Options of a handler judged and described by their JSON Schema: for processes that do not have the handler's code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from queues.handlers import secrets
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.logs import get_logger

if TYPE_CHECKING:
    from jsonschema import ValidationError

log = get_logger(__name__)

#: Most characters of what a schema expects that an error repeats.
_SHOWN = 200


def check(handler: str, schema: Mapping[str, Any] | None, options: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` that names each wrong option, and no value, which may be secret.

    Values that the worker's environment has (`env:NAME`) are not judged. Neither is anything if the schema is of no
    use: then the worker decides.
    """
    named = secrets.references(options)
    if schema is None:
        if options:
            raise InvalidInput(
                f"handler {handler!r} takes no options, but got {', '.join(sorted(options))}", field="handler_options"
            )
        return
    try:
        errors = _errors(schema, dict(options))
    except Exception as error:  # any worker may announce anything, such as a pattern that Python does not know
        log.warning("handler_schema_unusable", handler=handler, error=str(error)[:300])
        return
    problems = [_problem(error) for error in errors if not _concerns(error, named)]
    if problems:
        raise InvalidInput(f"options of handler {handler!r}: {'; '.join(problems)}", field="handler_options")


def check_payload(handler: str, schema: Mapping[str, Any], payload: Any) -> None:
    """Raise `InvalidInput` that names each wrong field, and no value. A schema that is of no use judges nothing."""
    try:
        errors = _errors(schema, payload)
    except Exception as error:  # as above
        log.warning("handler_schema_unusable", handler=handler, error=str(error)[:300])
        return
    if errors:
        raise InvalidInput(f"the payload does not fit: {'; '.join(map(_problem, errors))}", field="body")


def _errors(schema: Mapping[str, Any], value: Any) -> list[ValidationError]:
    # Imported here, since masters, workers and most commands judge nothing: it is an eighth of what they import.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return list(Draft202012Validator(schema, registry=Registry()).iter_errors(value))


def _any(value: Any) -> Any:
    return value


def _path(error: ValidationError) -> secrets.Path:
    return tuple(map(str, error.absolute_path))


def _concerns(error: ValidationError, named: Mapping[secrets.Path, str]) -> bool:
    """Whether an error is about a value from the environment, or about alternatives with such a value in them."""
    path = _path(error)
    above = [at for at in named if at[: len(path)] == path]
    return any(at == path or error.context for at in above) or any(path[: len(at)] == at for at in named)


def _problem(error: ValidationError) -> str:
    path, expected, instance, schema = _path(error), _any(error.validator_value), _any(error.instance), error.schema
    at = ".".join(path) or "options"
    if error.validator == "required":
        return "; ".join(f"{'.'.join((*path, name))}: is missing" for name in expected if name not in instance)
    if error.validator == "additionalProperties" and isinstance(schema, Mapping):
        known = schema.get("properties") or {}
        return f"{', '.join(sorted(set(instance) - set(known)))}: unknown; expected {', '.join(known) or 'none'}"
    if error.context:
        kinds = [str(one.get("type") or one.get("$ref", "").rpartition("/")[2]) for one in expected]
        return f"{at}: expected {' or '.join(filter(None, kinds)) or 'another value'}"
    text = expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False, default=str)
    return f"{at}: expected {error.validator} {text[:_SHOWN]}"


@dataclass(frozen=True)
class Option:
    """An option, as a form asks for it."""

    name: str
    #: `number`, `text`, `json` or `choice`.
    kind: str
    #: The choices as they are sent.
    choices: tuple[str, ...] = ()
    required: bool = False
    help: str = ""
    default: Any = None


def options(schema: Mapping[str, Any] | None) -> Iterator[Option]:
    """The options that a schema describes, in its order."""
    if schema is None:
        return
    required = schema.get("required") or ()
    for name, part in (schema.get("properties") or {}).items():
        if isinstance(part, Mapping):
            kind, choices = _kind(part)
            yield Option(name, kind, choices, name in required, str(part.get("description") or ""), part.get("default"))


def _kind(part: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    kinds = [one for one in part.get("anyOf") or [part] if isinstance(one, Mapping) and one.get("type") != "null"]
    choices = [value for one in kinds for value in one.get("enum") or ([one["const"]] if "const" in one else []) or ()]
    if choices and all("enum" in one or "const" in one for one in kinds):
        return "choice", tuple(value if isinstance(value, str) else json.dumps(value) for value in choices)
    types = {one.get("type") for one in kinds}
    if types == {"boolean"}:
        return "choice", ("true", "false")
    if types and types <= {"integer", "number"}:
        return "number", ()
    return ("text" if types == {"string"} else "json"), ()
