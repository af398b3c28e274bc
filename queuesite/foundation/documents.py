"""Documents to models and back: the repositories read and write through pymongo, the rest of the code sees models.

Each document is checked against its model's fields when it is read, because a person, a script or another program may
have broken it. One malformed document must not end a process that reads a thousand. So lists leave it out and log each
of its defects once; a caller that asks for it by its name or id gets the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from bson import ObjectId
from bson.int64 import Int64
from django.db import models

from queuesite.foundation.databases import MONGO, Document, collection
from queuesite.foundation.errors import MalformedDocument, NotFound
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

M = TypeVar("M", bound=models.Model)

#: Most reported documents that are remembered; the memory is cleared when it is full.
_REMEMBERED = 1_000
_reported: dict[tuple[str, str], str] = {}

_MISSING = ...


@dataclass(frozen=True)
class _Kind:
    """What a field may hold: Python's types, and words for people."""

    types: frozenset[type]
    words: str


_NUMBER = _Kind(frozenset({int, Int64}), "a whole number from 0")
_KINDS: Mapping[str, _Kind] = {
    "CharField": _Kind(frozenset({str}), "a string"),
    "TextField": _Kind(frozenset({str}), "a string"),
    "PositiveIntegerField": _NUMBER,
    "FloatField": _Kind(frozenset({float, int, Int64}), "a number"),
    "BooleanField": _Kind(frozenset({bool}), "true or false"),
    "DateTimeField": _Kind(frozenset({datetime}), "a date"),
    "ObjectIdField": _Kind(frozenset({ObjectId}), "an ObjectId"),
    "ObjectIdAutoField": _Kind(frozenset({ObjectId}), "an ObjectId"),
}
_OBJECT = _Kind(frozenset({dict}), "an object")
_LIST = _Kind(frozenset({list}), "an array of objects")


@dataclass(frozen=True)
class _Field:
    column: str
    attname: str
    types: frozenset[type]
    kind: _Kind
    null: bool
    #: Makes the value for a document that lacks the field; None: every document must have it.
    default: Callable[[], Any] | None
    whole: bool
    objects: bool


@cache
def _fields(model: type[models.Model]) -> tuple[_Field, ...]:
    found = []
    for field in model._meta.concrete_fields:
        kind = _KINDS.get(field.get_internal_type())
        if kind is None:
            kind = _LIST if field.default is list else _OBJECT
        types = kind.types | {type(None)} if field.null else kind.types
        default = field.get_default if field.has_default() or field.null else None
        found.append(
            _Field(str(field.column), field.attname, types, kind, field.null, default, kind is _NUMBER, kind is _LIST)
        )
    return tuple(found)


@cache
def _names(model: type[models.Model]) -> list[str]:
    return [field.attname for field in _fields(model)]


def bounds(model: type[models.Model]) -> Mapping[str, tuple[int, int]]:
    """Lowest and highest value of each setting for which a model declares limits, by MongoDB's names."""
    limits: Callable[[], Mapping[str, tuple[int, int]]] | None = getattr(model, "limits", None)
    if limits is None:
        return {}
    return {str(model._meta.get_field(name).column): of for name, of in limits().items()}  # type: ignore[union-attr]


def to_model(model: type[M], document: Document, *, bounded: bool = True) -> M:
    """The model instance of a document. If an older document lacks a field, the model's default is used.

    Raises `MalformedDocument`, also for a setting out of its bounds, unless `bounded` is false: pages show such a queue
    so that somebody can correct it there.
    """
    return _judged(model, document, bounds(model) if bounded else {})


def to_models(model: type[M], documents: Iterable[Document], *, bounded: bool = True) -> list[M]:
    """The instances of the well-formed documents; the others are reported."""
    limits = bounds(model) if bounded else {}
    found = []
    for document in documents:
        try:
            found.append(_judged(model, document, limits))
        except MalformedDocument as error:
            _report(error)
    return found


def read(
    model: type[M], find: Callable[[int, int], Iterable[Document]], limit: int, *, bounded: bool = True
) -> list[M]:
    """Up to `limit` instances of what `find(skip, limit)` returns. Malformed documents do not make a page shorter."""
    found: list[M] = []
    skip = 0
    while wanted := limit - len(found):
        documents = list(find(skip, wanted))
        found += to_models(model, documents, bounded=bounded)
        skip += len(documents)
        if len(documents) < wanted:
            break
    return found


def containing(text: str) -> Document:
    """The condition that a field contains a text, in any case. No index helps with it."""
    return {"$regex": re.escape(text), "$options": "i"}


def malformed(model: type[models.Model], limit: int) -> list[MalformedDocument]:
    """Up to `limit` malformed documents of a collection. All of its documents are read for it.

    To have the database judge them takes ten times as long on the embedded one, and says each rule twice.
    """
    found: list[MalformedDocument] = []
    for document in collection(model).find():
        try:
            to_model(model, document)
        except MalformedDocument as error:
            found.append(error)
            if len(found) == limit:
                break
    return found


def remove(model: type[models.Model], error: MalformedDocument) -> bool:
    """Delete a malformed document if the same thing is still wrong with it; return whether it was deleted."""
    value = {"$exists": False} if error.value is _MISSING else error.value
    return bool(collection(model).delete_one({"_id": error.key, error.field: value}).deleted_count)


def _judged(model: type[M], document: Document, limits: Mapping[str, tuple[int, int]]) -> M:
    values = []
    for field in _fields(model):
        value = document.get(field.column, _MISSING)
        if type(value) not in field.types:
            value = _mended(model, document, field, value)
        if field.whole and value is not None and value < 0:
            raise _error(model, document, field.column, value, _expected(model, field))
        if field.objects and not all(type(one) is dict for one in value):
            raise _error(model, document, field.column, value, field.kind.words)
        values.append(value)
    for column, within in limits.items():
        value = document.get(column)
        if value is not None and not within[0] <= value <= within[1]:
            raise _error(model, document, column, value, _within(within))
    return model.from_db(MONGO, _names(model), values)


def _mended(model: type[models.Model], document: Document, field: _Field, value: Any) -> Any:
    """A usable value for a field that is missing or has another type, such as the 3.0 that a shell writes for 3."""
    if value is _MISSING and field.default is not None:
        return field.default()
    if field.whole and isinstance(value, float) and value.is_integer():
        return int(value)
    raise _error(model, document, field.column, value, _expected(model, field))


def _expected(model: type[models.Model], field: _Field) -> str:
    limits = bounds(model).get(field.column)
    return field.kind.words if limits is None else _within(limits)


def _within(limits: tuple[int, int]) -> str:
    return f"a whole number from {limits[0]} to {limits[1]}"


def _error(model: type[models.Model], document: Document, column: str, value: Any, expected: str) -> MalformedDocument:
    name = next((text for key in ("name", "queueName", "queueUrl") if isinstance(text := document.get(key), str)), "")
    return MalformedDocument(model._meta.db_table, document.get("_id"), name, column, value, expected)


def _report(error: MalformedDocument) -> None:
    key = (error.collection, repr(error.key))
    if _reported.get(key) == error.wrong:
        return
    if len(_reported) >= _REMEMBERED:
        _reported.clear()
    _reported[key] = error.wrong
    log.error("document_malformed", collection=error.collection, error=str(error), meaning="it is left out")


def columns(model: type[models.Model], values: dict[str, Any]) -> Document:
    """`values` under MongoDB's field names instead of Python's."""
    return {_column(model._meta.get_field(name)): value for name, value in values.items()}


def to_document(instance: models.Model) -> Document:
    """The document of a model instance, with every field."""
    return {_column(f): getattr(instance, f.attname) for f in instance._meta.concrete_fields}


def _column(field: Any) -> str:
    return str(field.column)


def object_id(text: str, what: str) -> ObjectId:
    """An ObjectId from an address. Raises `NotFound` if the text is not one."""
    if not ObjectId.is_valid(text):
        raise NotFound(f"there is no {what} {text[:50]!r}")
    return ObjectId(text)


def step_of(field: str, step: timedelta) -> Document:
    """MongoDB's expression for the beginning of the step that a date is in; steps count from midnight of the epoch."""
    milliseconds = {"$toLong": f"${field}"}
    return {"$toDate": {"$subtract": [milliseconds, {"$mod": [milliseconds, int(step.total_seconds() * 1_000)]}]}}
