"""Documents to models and back: the repositories read and write through pymongo, the rest of the code sees models."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from bson import ObjectId
from django.db import models

from queuesite.databases import MONGO, Document
from queuesite.errors import NotFound

M = TypeVar("M", bound=models.Model)


def to_model(model: type[M], document: Document) -> M:
    """The model instance of a document. A field that an older document lacks has the model's default."""
    fields = model._meta.concrete_fields
    values = [document[f.column] if f.column in document else f.get_default() for f in fields]
    return model.from_db(MONGO, [f.attname for f in fields], values)


def columns(model: type[models.Model], values: dict[str, Any]) -> Document:
    """`values`, keyed by Python names, keyed by MongoDB's field names instead."""
    return {_column(model._meta.get_field(name)): value for name, value in values.items()}


def to_document(instance: models.Model) -> Document:
    """The document of a model instance, with every field."""
    return {_column(f): getattr(instance, f.attname) for f in instance._meta.concrete_fields}


def _column(field: Any) -> str:
    return str(field.column)


def object_id(text: str, what: str) -> ObjectId:
    """An ObjectId from an address. One that is none names nothing: `NotFound`."""
    if not ObjectId.is_valid(text):
        raise NotFound(f"there is no {what} {text[:50]!r}")
    return ObjectId(text)


def step_of(field: str, step: timedelta) -> Document:
    """The beginning of the step that a date lies in, as MongoDB's expression; counted from midnight of the epoch."""
    milliseconds = {"$toLong": f"${field}"}
    return {"$toDate": {"$subtract": [milliseconds, {"$mod": [milliseconds, int(step.total_seconds() * 1_000)]}]}}
