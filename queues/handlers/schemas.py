"""Options of a handler judged by their JSON Schema: for processes that do not have the handler's code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from queues.handlers import option_formats, secrets
from queues.handlers.option_errors import refused_options, takes_no_options
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
            raise takes_no_options(handler, options)
        return
    try:
        errors = _errors(schema, dict(options))
    except Exception as error:  # any worker may announce anything, such as a pattern that Python does not know
        log.warning("handler_schema_unusable", handler=handler, error=str(error)[:300])
        return
    problems = _told(error for error in errors if not _concerns(error, named))
    if problems:
        raise refused_options(handler, problems)


def check_payload(handler: str, schema: Mapping[str, Any], payload: Any) -> None:
    """Raise `InvalidInput` that names each wrong field, and no value. A schema that is of no use judges nothing."""
    try:
        errors = _errors(schema, payload)
    except Exception as error:  # as above
        log.warning("handler_schema_unusable", handler=handler, error=str(error)[:300])
        return
    problems = _told(errors)
    if problems:
        told = "; ".join(f"{'.'.join(path) or 'payload'}: {message}" for path, message in problems)
        raise InvalidInput(f"the payload does not fit: {told}", field="body")


def _errors(schema: Mapping[str, Any], value: Any) -> list[ValidationError]:
    # Imported here, since masters, workers and most commands judge nothing: it is an eighth of what they import.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    validator = Draft202012Validator(schema, registry=Registry(), format_checker=option_formats.checker())
    return list(validator.iter_errors(value))


def _any(value: Any) -> Any:
    return value


def _path(error: ValidationError) -> secrets.Path:
    return tuple(map(str, error.absolute_path))


def _concerns(error: ValidationError, named: Mapping[secrets.Path, str]) -> bool:
    """Whether an error is about a value from the environment, or about alternatives with such a value in them."""
    path = _path(error)
    above = [at for at in named if at[: len(path)] == path]
    return any(at == path or error.context for at in above) or any(path[: len(at)] == at for at in named)


def _told(errors: Iterable[ValidationError]) -> list[tuple[secrets.Path, str]]:
    """The problems, each once: jsonschema has an error for each missing name, without saying for which."""
    return list(dict.fromkeys(problem for error in errors for problem in _problems(error)))


def _problems(error: ValidationError) -> Iterator[tuple[secrets.Path, str]]:
    """What an error says, at the path that it is about."""
    path, expected, instance, schema = _path(error), _any(error.validator_value), _any(error.instance), error.schema
    if error.validator == "required":
        for name in expected:
            if name not in instance:
                yield (*path, name), "is missing"
    elif error.validator == "additionalProperties" and isinstance(schema, Mapping):
        known = schema.get("properties") or {}
        for name in sorted(set(instance) - set(known)):
            yield (*path, name), f"unknown; expected {', '.join(known) or 'nothing'}"
    elif inner := _only_branch(error):
        for one in inner:
            yield from _problems(one)
    elif error.context:
        kinds = [str(one.get("type") or one.get("$ref", "").rpartition("/")[2]) for one in expected]
        yield path, f"expected {' or '.join(filter(None, kinds)) or 'another value'}"
    elif error.validator == "format" and expected in option_formats.FORMATS:
        yield path, f"expected {option_formats.FORMATS[expected].words}"
    else:
        text = expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False, default=str)
        yield path, f"expected {error.validator} {text[:_SHOWN]}"


def _only_branch(error: ValidationError) -> list[ValidationError]:
    """The errors of a value of one type that may be null too; none if it is of another type."""
    parts = _any(error.validator_value)
    if error.validator != "anyOf" or len(parts) != 2 or sum(one == {"type": "null"} for one in parts) != 1:
        return []
    place = 1 if parts[0] == {"type": "null"} else 0
    inner = [one for one in error.context or () if one.relative_schema_path[0] == place]
    wrong_type = any(one.validator == "type" and not one.relative_path for one in inner)
    return [] if wrong_type else inner
