"""The part of the send form that asks for a payload: a field for each part of its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from queues.handlers import option_fields, option_texts, schemas
from queues.handlers.catalogue import Known
from queues.handlers.option_fields import Field, Kind
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.problems import Problems

#: What the names of the fields begin with.
PREFIX = "payload."


def fields(handler: Known) -> dict[str, forms.Field]:
    """The fields, by name; none if the handler declares no payload, or one that is not an object."""
    return {PREFIX + one.name: _field(one) for one in _fields(handler)}


def body(handler: Known, typed: Mapping[str, Any]) -> str:
    """The body that carries what was typed; an empty field is left out. Raises `InvalidInput`."""
    problems = Problems()
    value = {}
    for field in _fields(handler):
        if text := (typed.get(PREFIX + field.name) or "").strip():
            with problems.noted():
                value[field.name] = _value(field, text)
    problems.raise_all()
    declared = handler.local.payload if handler.local is not None else None
    if declared is not None:
        return declared.body(value)
    schemas.check_payload(handler.name, handler.payload_schema or {}, value)
    return json.dumps(value, ensure_ascii=False)


def _fields(handler: Known) -> list[Field]:
    """The fields of the payload. What a message has within it, or several choices of, is JSON."""
    return [
        replace(one, kind=Kind.JSON, help=f"{one.help}; as JSON".removeprefix("; "))
        if one.kind in {Kind.GROUP, Kind.CHOICES}
        else one
        for one in option_fields.fields(handler.payload_schema)
    ]


def _field(field: Field) -> forms.Field:
    notes = [
        field.help,
        "required" if field.required else "",
        f"default: {words}" if (words := field.default_words) else "",
    ]
    text: dict[str, Any] = {"label": field.name, "required": False, "help_text": "; ".join(filter(None, notes))}
    if field.kind is Kind.CHOICE:
        choices = [("", ""), *((option_texts.shown(one), option_texts.words(field, one)) for one in field.choices)]
        return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget, **text)
    several = field.kind in {Kind.LIST, Kind.MAPPING, Kind.JSON}
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3}) if several else UnfoldAdminTextInputWidget
    return forms.CharField(strip=False, widget=widget, **text)


def _value(field: Field, text: str) -> Any:
    try:
        return option_texts.read(field, text.replace("\r\n", "\n"))
    except ValueError as error:
        raise InvalidInput(f"{field.name}: {error}", field=PREFIX + field.name) from None
