"""Secrets in a handler's options: masked when options are read, kept when the mask is written back.

An option is secret if its JSON Schema says so (`writeOnly` or the format `password`, as pydantic writes its
`SecretStr`; or a list, a mapping or a model of them). So a process without the handler's code knows it too. Any value
may be `env:NAME` instead: the consumer takes it from its worker's environment, so that no secret is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from queues.handlers.option_errors import FIELD, refused_options
from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.problems import Problems

#: What a secret reads as. Written back, it means "as it is".
MASK = "********"
#: In a schema: names of the options that say where its secrets go (`secrets_go_to` of the model).
GO_TO = "x-secrets-go-to"

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
#: Variables that no option may name, since a handler could send them anywhere: the system's own settings, and AWS's.
_OWN = frozenset(name.upper() for name in Config.model_fields)

Path = tuple[str, ...]
#: A JSON Schema.
Schema = Mapping[str, Any]


def is_reference(value: Any) -> bool:
    """Whether a value is `env:NAME`."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def mask(schema: Schema | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they may be shown. Options that the schema does not have (None: all) count as secret."""
    fields = {} if schema is None else _Part(schema, schema).fields()
    return {name: _masked(fields.get(name), value) for name, value in options.items()}


@dataclass(frozen=True)
class _Part:
    """A part of a schema, and the whole, whose definitions it refers to."""

    part: Any
    whole: Schema

    def _below(self) -> list[_Part]:
        """The schemas that a value must or may fit, without references and alternatives."""
        found: list[_Part] = []
        todo, seen = [self.part], set()
        while todo:
            part = todo.pop()
            if not isinstance(part, Mapping):
                continue
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                todo.append(_at(self.whole, tuple(reference.removeprefix("#/").split("/"))))
            todo += [one for word in ("anyOf", "oneOf", "allOf") for one in part.get(word) or ()]
            found.append(_Part(part, self.whole))
        return found

    def fields(self) -> dict[str, _Part]:
        """The properties of an object, by the names under which values are given."""
        return {
            name: _Part(of, self.whole)
            for one in self._below()
            for name, of in (one.part.get("properties") or {}).items()
        }

    def others(self, word: str) -> list[_Part]:
        """The schemas of an object's other properties (`additionalProperties`), or of a list's items."""
        found = [one.part.get(word) for one in self._below()]
        return [_Part(one, self.whole) for one in found if isinstance(one, Mapping)]

    def inner(self) -> Iterator[_Part]:
        """All that a value may consist of."""
        yield from self.fields().values()
        for word in ("additionalProperties", "items"):
            yield from self.others(word)
        for one in self._below():
            yield from (_Part(part, self.whole) for part in one.part.get("prefixItems") or ())

    def holds_secrets(self, seen: frozenset[int] = frozenset()) -> bool:
        """Whether a value may be secret, or hold one."""
        if id(self.part) in seen:
            return False
        if any(one.part.get("writeOnly") is True or one.part.get("format") == "password" for one in self._below()):
            return True
        return any(one.holds_secrets(seen | {id(self.part)}) for one in self.inner())


def _masked(part: _Part | None, value: Any) -> Any:
    """`value` with everything that may be secret masked (None: all of it). Null and references are not secret."""
    if value is None or is_reference(value):
        return value
    if part is not None and not part.holds_secrets():
        return value
    if isinstance(value, Mapping):
        fields = {} if part is None else part.fields()
        other = None if part is None else next(iter(part.others("additionalProperties")), None)
        return {name: _masked(fields.get(name, other), one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_masked(None if part is None else next(iter(part.others("items")), None), one) for one in value]
    return MASK


def keep(schema: Schema | None, given: Mapping[str, Any], stored: Mapping[str, Any], handler: str) -> dict[str, Any]:
    """The options to store: the stored value wherever `given` has the mask of a secret.

    A handler may declare where its secrets go: `secrets_go_to` of its model names options, such as an address. If one
    of those changes, the mask keeps nothing; otherwise anybody who may change the address could have the secrets sent
    to themselves. Raises `InvalidInput` if a mask stands for nothing.
    """
    shown = mask(schema, stored)
    targets = (schema or {}).get(GO_TO) or ()
    moved = [name for name in targets if given.get(name) != shown.get(name)] if stored else []
    problems: list[tuple[Path, str]] = []

    def restore(path: Path, value: Any) -> Any:
        if value != MASK or not _is_secret(schema, path):
            return value
        found = _at(stored, path)
        if moved or found is None or _at(shown, path) != MASK:
            why = f"{moved[0]} has changed, which is where it goes" if moved else "there is none"
            problems.append((path, f"{MASK} stands for the stored value, but {why}; give the value itself"))
        return found

    kept = dict(_mapped((), given, restore))
    if problems:
        raise refused_options(handler, problems)
    return kept


def _is_secret(schema: Schema | None, path: Path) -> bool:
    part = None if schema is None else _Part(schema, schema).fields().get(path[0])
    return part is None or part.holds_secrets()


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
    problems = Problems()

    def note(path: Path, value: Any) -> Any:
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            name = match[1]
            if name.upper() in _OWN or name.upper().startswith("AWS_"):
                with problems.noted():
                    raise _refused(
                        path,
                        f"{value} names one of Queuesite's own settings, which options may not use; put what the "
                        "handler needs into another variable",
                    )
            found[path] = name
        return value

    _mapped((), options, note)
    problems.raise_all()
    return found


def _refused(path: Path, message: str) -> InvalidInput:
    told = f"{'.'.join(path)}: {message}"
    return InvalidInput(told, field=FIELD, fields=[(".".join((FIELD, *path)), message)])


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with this process's environment values for each `env:NAME`. Raises `InvalidInput`."""
    named = references(options)

    def look_up(path: Path, value: Any) -> Any:
        if path not in named:
            return value
        try:
            return os.environ[named[path]]
        except KeyError:
            raise _refused(
                path,
                f"{value} names a variable that is not set in this worker's environment; set it before you start the "
                "worker",
            ) from None

    return dict(_mapped((), options, look_up))
