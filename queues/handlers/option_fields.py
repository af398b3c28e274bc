"""The fields in which a person enters a handler's options, or a payload: made from a JSON Schema. Pure.

Whatever has no simple field (a list of models, a union of a list and a number, a model within itself) is given as JSON.
`queues.handlers.option_texts` says how a value of each kind is typed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from queues.handlers import option_texts
from queues.handlers.option_formats import FORMATS

#: A JSON Schema, or a part of one.
Schema = Mapping[str, Any]
#: How deep models may lie in each other to have fields of their own.
MAX_DEPTH = 4


class Kind(StrEnum):
    """What a field looks like."""

    TEXT = "text"
    NUMBER = "number"
    #: A number, true, false or text.
    SCALAR = "scalar"
    DURATION = "duration"
    CHOICE = "choice"
    #: Several of the choices, in no order.
    CHOICES = "choices"
    #: One value a line.
    LIST = "list"
    #: A name and a value a line.
    MAPPING = "mapping"
    #: A model, which has fields of its own.
    GROUP = "group"
    JSON = "json"


#: Kinds whose values fit on one line.
_SIMPLE = frozenset({Kind.TEXT, Kind.NUMBER, Kind.SCALAR, Kind.DURATION, Kind.CHOICE})
_TYPES = {
    frozenset({"string"}): Kind.TEXT,
    frozenset({"integer"}): Kind.NUMBER,
    frozenset({"number"}): Kind.NUMBER,
    frozenset({"integer", "number"}): Kind.NUMBER,
}


@dataclass(frozen=True)
class Field:
    """A field for the value at a path below the options."""

    path: tuple[str, ...]
    kind: Kind
    required: bool = False
    #: What it is and which values it takes, in words.
    help: str = ""
    #: The value that holds if none is given. Ellipsis: the schema does not say, such as for what a function makes.
    default: Any = ...
    nullable: bool = False
    secret: bool = False
    choices: tuple[Any, ...] = ()
    #: The fields of a group.
    inner: tuple[Field, ...] = ()
    #: What a list or a mapping consists of.
    item: Field | None = None

    @property
    def name(self) -> str:
        """Its name within its model."""
        return self.path[-1]

    @property
    def default_words(self) -> str:
        """The default in words; empty if there is none, or if it is secret."""
        if self.default is ... or self.secret:
            return ""
        if self.kind is Kind.GROUP:
            return "none, if all of them are empty" if self.default is None else ""
        return option_texts.words(self, self.default)

    @property
    def nothing(self) -> Any:
        """What it means that nothing is given on purpose, in place of the default. Ellipsis: that cannot be meant."""
        if self.default is ... or not self.default or self.secret or self.kind is Kind.GROUP:
            return ...
        if self.nullable:
            return None
        empty: dict[Kind, Any] = {Kind.TEXT: "", Kind.LIST: [], Kind.CHOICES: [], Kind.MAPPING: {}}
        return empty.get(self.kind, ...)

    def leaves(self) -> Iterator[Field]:
        """Itself, or the fields of a group."""
        if self.kind is not Kind.GROUP:
            yield self
        for one in self.inner:
            yield from one.leaves()


def fields(schema: Schema | None) -> tuple[Field, ...]:
    """The fields of what a schema describes, in its order; none if it describes no properties."""
    return () if schema is None else _inner(schema, schema, (), frozenset())


def _inner(part: Schema, whole: Schema, path: tuple[str, ...], seen: frozenset[str]) -> tuple[Field, ...]:
    properties = part.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    required = part.get("required") or ()
    return tuple(
        _field(one, whole, (*path, str(name)), seen, required=name in required)
        for name, one in properties.items()
        if isinstance(one, Mapping)
    )


def _field(part: Schema, whole: Schema, path: tuple[str, ...], seen: frozenset[str], *, required: bool) -> Field:
    found = _Alternatives(whole, seen)
    found.add(part)
    field = found.field(path)
    words = [str(part.get("description") or ""), field.help]
    return replace(
        field, required=required, default=part.get("default", ...), help="; ".join(one for one in words if one)
    )


class _Alternatives:
    """What a value may be: the parts of a schema without references, and whether null is one of them."""

    def __init__(self, whole: Schema, seen: frozenset[str]) -> None:
        self.whole = whole
        self.seen = seen
        self.parts: list[Schema] = []
        self.nullable = False
        #: It refers to itself, or to what is not there.
        self.endless = False

    def add(self, part: Any) -> None:
        """Add a part, with whatever it refers to."""
        if not isinstance(part, Mapping):
            return
        reference, several = part.get("$ref"), part.get("anyOf") or part.get("oneOf")
        same = part.get("allOf")
        if isinstance(reference, str):
            target = _target(self.whole, reference)
            if target is None or reference in self.seen:
                self.endless = True
                return
            self.seen |= {reference}
            self.add(target)
        elif isinstance(several, list):
            for one in several:
                self.add(one)
        elif isinstance(same, list) and len(same) == 1:
            self.add(same[0])
        elif isinstance(part.get("type"), list):
            for one in part["type"]:
                self.add({**part, "type": one})
        elif part.get("type") == "null":
            self.nullable = True
        else:
            self.parts.append(part)

    def field(self, path: tuple[str, ...]) -> Field:
        """The field for such a value."""
        field = Field(path, Kind.JSON) if self.endless or not self.parts else self._of_parts(path)
        if field.kind is Kind.JSON:
            field = replace(field, help="as JSON")
        return replace(field, nullable=self.nullable or None in field.choices)

    def _of_parts(self, path: tuple[str, ...]) -> Field:
        parts = self.parts
        choices = [_choices(one) for one in parts]
        if all(one is not None for one in choices):
            return Field(path, Kind.CHOICE, choices=tuple(value for one in choices for value in one or ()))
        if len(parts) == 1 and parts[0].get("type") == "array":
            return self._list(parts[0], path)
        if len(parts) == 1 and parts[0].get("type") == "object":
            return self._object(parts[0], path)
        types = frozenset(str(one.get("type")) for one in parts)
        if not types <= {"string", "integer", "number", "boolean"}:
            return Field(path, Kind.JSON)
        secret = any(one.get("writeOnly") is True or one.get("format") == "password" for one in parts)
        kind = _TYPES.get(types, Kind.SCALAR)
        if kind is Kind.TEXT and all(one.get("format") == "duration" for one in parts):
            kind = Kind.DURATION
        return Field(path, kind, secret=secret, help=" or ".join(filter(None, map(_limits, parts))))

    def _list(self, part: Schema, path: tuple[str, ...]) -> Field:
        item = self._item(part.get("items"), path)
        if item is None or "prefixItems" in part:
            return Field(path, Kind.JSON)
        if item.kind is Kind.CHOICE and part.get("uniqueItems"):
            return Field(path, Kind.CHOICES, choices=item.choices, item=item)
        each = _any_of(item.choices) if item.choices else item.help
        notes = ("one per line", each, _range(part, "minItems", "maxItems", " of them"))
        return Field(path, Kind.LIST, item=item, secret=item.secret, help="; ".join(filter(None, notes)))

    def _object(self, part: Schema, path: tuple[str, ...]) -> Field:
        if part.get("properties"):
            inner = _inner(part, self.whole, path, self.seen) if len(path) < MAX_DEPTH else ()
            return Field(path, Kind.GROUP if inner else Kind.JSON, inner=inner)
        item = self._item(part.get("additionalProperties"), path)
        if item is None:
            return Field(path, Kind.JSON)
        return Field(path, Kind.MAPPING, item=item, secret=item.secret, help="one per line, as name: value")

    def _item(self, part: Any, path: tuple[str, ...]) -> Field | None:
        if not isinstance(part, Mapping):
            return None
        found = _Alternatives(self.whole, self.seen)
        found.add(part)
        field = found.field(path)
        return field if field.kind in _SIMPLE and not field.nullable else None


def _target(whole: Schema, reference: str) -> Any:
    found: Any = whole
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _choices(part: Schema) -> tuple[Any, ...] | None:
    if isinstance(part.get("enum"), list):
        return tuple(part["enum"])
    if "const" in part:
        return (part["const"],)
    return (True, False) if part.get("type") == "boolean" else None


def _any_of(choices: tuple[Any, ...]) -> str:
    *others, last = map(option_texts.shown, choices)
    return f"{', '.join(others)} or {last}" if others else last


def _limits(part: Schema) -> str:
    """What a schema says of a number or a text, in words."""
    if part.get("type") == "string":
        known = FORMATS.get(str(part.get("format")))
        return known.words if known is not None else _range(part, "minLength", "maxLength", " characters")
    below = f"less than {part['exclusiveMaximum']:,}" if "exclusiveMaximum" in part else ""
    above = f"more than {part['exclusiveMinimum']:,}" if "exclusiveMinimum" in part else ""
    return " and ".join(filter(None, (_range(part, "minimum", "maximum", ""), above, below)))


def _range(part: Schema, least: str, most: str, unit: str) -> str:
    low, high = part.get(least), part.get(most)
    if low is not None and high is not None:
        return f"{low:,} to {high:,}{unit}"
    if high is not None:
        return f"at most {high:,}{unit}"
    return f"at least {low:,}{unit}" if low else ""
