"""The part of the send form that asks for a payload: a field for each part of its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from queues.handlers import schemas
from queues.handlers.catalogue import Known
from queues.handlers.schemas import Option
from queuesite.foundation.errors import InvalidInput

#: What the names of the fields begin with.
PREFIX = "payload."


def fields(handler: Known) -> dict[str, forms.Field]:
    """The fields, by name; none if the handler declares no payload, or one that is no object."""
    return {PREFIX + option.name: _field(option) for option in schemas.options(handler.payload_schema)}


def body(handler: Known, typed: Mapping[str, Any]) -> str:
    """The body that carries what was typed; an empty field is left out. Raises `InvalidInput`."""
    value = {
        option.name: _value(option, text)
        for option in schemas.options(handler.payload_schema)
        if (text := (typed.get(PREFIX + option.name) or "").strip())
    }
    declared = handler.local.payload if handler.local is not None else None
    if declared is not None:
        return declared.body(value)
    schemas.check_payload(handler.name, handler.payload_schema or {}, value)
    return json.dumps(value, ensure_ascii=False)


def _field(option: Option) -> forms.Field:
    notes = [option.help, "JSON" if option.kind == "json" else "", "required" if option.required else ""]
    if option.default is not None:
        notes.append(f"default {json.dumps(option.default, ensure_ascii=False)}")
    text: dict[str, Any] = {"label": option.name, "required": False, "help_text": "; ".join(filter(None, notes))}
    if option.kind == "choice":
        choices = [("", ""), *((choice, choice) for choice in option.choices)]
        return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget, **text)
    return forms.CharField(strip=False, widget=UnfoldAdminTextInputWidget, **text)


def _value(option: Option, text: str) -> Any:
    if option.kind == "text":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if option.kind == "json":
            raise InvalidInput(f"{option.name}: expected JSON", field=PREFIX + option.name) from None
        return text
