"""Secrets in a handler's options: masked when options are read, kept when the mask is written back.

An option is secret if its type says so (pydantic's `SecretStr`, or a list, a mapping or a model of them). Any value may
be `env:NAME` instead: the consumer takes it from its worker's environment, so that no secret is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr

from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput

#: What a secret reads as. Written back, it means "as it is".
MASK = "********"
#: In a schema: names of the options that say where its secrets go (`secrets_go_to` of the model).
GO_TO = "x-secrets-go-to"

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRETS = (SecretStr, SecretBytes)
#: Variables that no option may name, since a handler could send them anywhere: the system's own settings, and AWS's.
_OWN = frozenset(name.upper() for name in Config.model_fields)

Path = tuple[str, ...]


def mask(model: type[BaseModel] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they may be shown. Options that the model does not have (None: all) count as secret."""
    fields = {} if model is None else _fields(model)
    return {name: _masked(fields.get(name, SecretStr), value) for name, value in options.items()}


def _masked(kind: Any, value: Any) -> Any:
    """`value` of the type `kind`, with everything that may be secret masked. None and references are not secret."""
    if value is None or (isinstance(value, str) and _REFERENCE.fullmatch(value)):
        return value
    if not _holds_secrets(kind):
        return value
    if isinstance(value, Mapping):
        models = [one for one in _flat(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
        fields = {name: of for model in models for name, of in _fields(model).items()}
        return {name: _masked(fields.get(name, kind), one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_masked(kind, one) for one in value]
    return MASK


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """The types of a model's fields, by each name that a value may be given under."""
    return {name: info.annotation for key, info in model.model_fields.items() for name in (key, info.alias or key)}


def _flat(kind: Any) -> list[Any]:
    """The types in `kind`, without unions, containers and annotations."""
    if get_origin(kind) is Annotated:
        return _flat(get_args(kind)[0])
    inner = get_args(kind)
    return [one for part in inner for one in _flat(part)] if inner else [kind]


def _holds_secrets(kind: Any, seen: frozenset[Any] = frozenset()) -> bool:
    for one in _flat(kind):
        if not isinstance(one, type) or one in seen:
            continue
        inner = _fields(one).values() if issubclass(one, BaseModel) else ()
        if issubclass(one, _SECRETS) or any(_holds_secrets(of, seen | {one}) for of in inner):
            return True
    return False


def keep(
    model: type[BaseModel] | None, given: Mapping[str, Any], stored: Mapping[str, Any], handler: str
) -> dict[str, Any]:
    """The options to store: the stored value wherever `given` has the mask of a secret.

    A model may declare where its secrets go: `secrets_go_to` names options, such as an address. If one of those
    changes, the mask keeps nothing; otherwise anybody who may change the address could have the secrets sent to
    themselves. Raises `InvalidInput` if a mask stands for nothing.
    """
    shown = mask(model, stored)
    targets = getattr(model, "secrets_go_to", ())
    moved = [name for name in targets if given.get(name) != shown.get(name)] if stored else []

    def restore(path: Path, value: Any) -> Any:
        if value != MASK or not _is_secret(model, path):
            return value
        found = _at(stored, path)
        if moved or found is None or _at(shown, path) != MASK:
            why = f"{moved[0]} has changed, which is where it goes" if moved else "there is none"
            raise InvalidInput(
                f"options of handler {handler!r}: {'.'.join(path)}: {MASK} stands for the stored value, but {why}; "
                "give the value itself",
                field="handler_options",
            )
        return found

    return dict(_mapped((), given, restore))


def _is_secret(model: type[BaseModel] | None, path: Path) -> bool:
    return model is None or path[0] not in _fields(model) or _holds_secrets(_fields(model)[path[0]])


def _mapped(path: Path, value: Any, change: Callable[[Path, Any], Any]) -> Any:
    """`value` with `change` applied to each of its leaves."""
    if isinstance(value, Mapping):
        return {name: _mapped((*path, str(name)), one, change) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped((*path, str(place)), one, change) for place, one in enumerate(value)]
    return change(path, value)


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def references(options: Mapping[str, Any]) -> dict[Path, str]:
    """The values that name a variable of the worker's environment: its name by the path to the value.

    Raises `InvalidInput` for a variable that options may not name.
    """
    found: dict[Path, str] = {}

    def note(path: Path, value: Any) -> Any:
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            name = match[1]
            if name.upper() in _OWN or name.upper().startswith("AWS_"):
                raise InvalidInput(
                    f"{'.'.join(path)}: {value} names one of Queuesite's own settings, which options may not use; put "
                    "what the handler needs into another variable",
                    field="handler_options",
                )
            found[path] = name
        return value

    _mapped((), options, note)
    return found


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with this process's environment values for each `env:NAME`. Raises `InvalidInput`."""
    named = references(options)

    def look_up(path: Path, value: Any) -> Any:
        if path not in named:
            return value
        try:
            return os.environ[named[path]]
        except KeyError:
            raise InvalidInput(
                f"{'.'.join(path)}: {value} names a variable that is not set in this worker's environment; set it "
                "before you start the worker",
                field="handler_options",
            ) from None

    return dict(_mapped((), options, look_up))
