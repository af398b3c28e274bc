"""Inputs for the options of each handler: what was typed becomes options, and options become what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from queues.handlers import option_fields, option_texts
from queues.handlers.catalogue import Catalogue, Known
from queues.handlers.option_fields import Field, Kind
from queues.handlers.secrets import MASK, is_reference

#: What the name of the checkbox ends in that gives an option nothing, in place of its default.
NOTHING = ":nothing"
_NOT_KEPT = "a secret is not shown again: type it once more"
#: A text that is longer is typed into several lines.
_LINE = 100


class Typed:
    """What was sent for the options of a handler."""

    def __init__(self, data: Mapping[str, Any], prefix: str, fields: Sequence[Field]) -> None:
        self._data = data
        self._prefix = prefix
        #: What cannot be read, by its path.
        self.unreadable: dict[str, str] = {}
        self.options = self._read(fields)

    def text(self, field: Field) -> str:
        """What was typed for a field."""
        return str(self._data.get(self._key(field), "")).replace("\r\n", "\n").strip()

    def chosen(self, field: Field) -> list[str]:
        """What was chosen for a field of several choices."""
        getlist = getattr(self._data, "getlist", None)
        found = getlist(self._key(field)) if getlist is not None else self._data.get(self._key(field), [])
        return [str(one) for one in found]

    def is_nothing(self, field: Field) -> bool:
        """Whether nothing was chosen on purpose."""
        return self._key(field) + NOTHING in self._data

    def _key(self, field: Field) -> str:
        return f"{self._prefix}.{'.'.join(field.path)}"

    def _read(self, fields: Sequence[Field]) -> dict[str, Any]:
        found = {field.name: self._value(field) for field in fields}
        return {name: value for name, value in found.items() if value is not ...}

    def _value(self, field: Field) -> Any:
        """The value that was typed; Ellipsis: none."""
        if field.kind is Kind.GROUP:
            inner = self._read(field.inner)
            return inner if inner or field.required else ...
        if field.kind is Kind.CHOICES:
            chosen = self.chosen(field)
            if chosen:
                return [
                    next((one for one in field.choices if option_texts.shown(one) == text), text) for text in chosen
                ]
        elif text := self.text(field):
            try:
                return option_texts.read(field, text)
            except ValueError as error:
                self.unreadable[".".join(field.path)] = str(error)
                return text
        return field.nothing if self.is_nothing(field) else ...


class OptionsWidget(forms.Widget):
    """Inputs for the options of each handler; the browser shows those of the chosen handler (queues.js).

    An empty input leaves its option out, so that the handler's default holds. The options of a handler that nobody
    knows are JSON, which is also accepted under the field's own name.
    """

    template_name = "jobs/options.html"

    def __init__(self, handlers: Catalogue) -> None:
        super().__init__()
        self.chosen = ""
        self._handlers = handlers
        self._typed: Typed | None = None
        self._problems: dict[str, list[str]] = {}

    def tell(self, problems: Sequence[tuple[str, str]]) -> list[str]:
        """Show each problem at its input, by its path. Returns what the field as a whole has to say."""
        inputs = {".".join(one.path) for one in _all(self._fields(self.chosen))}
        unreadable = self._typed.unreadable if self._typed is not None else {}
        elsewhere, wrong = [], []
        for path, message in [*problems, *((path, "") for path in unreadable)]:
            at = next((one for one in _above(path) if one in inputs), None)
            if at is None:
                elsewhere.append(f"{path}: {message}" if path else message)
                continue
            wrong.append(path)
            said = unreadable.get(at) or _with_rest(path.removeprefix(at).strip("."), message)
            if said not in self._problems.setdefault(at, []):
                self._problems[at].append(said)
        if wrong:
            many = f"{len(set(wrong))} options are" if len(set(wrong)) > 1 else "1 option is"
            elsewhere.append(f"{many} wrong: {', '.join(dict.fromkeys(wrong))}")
        return elsewhere

    def _fields(self, handler: str) -> tuple[Field, ...]:
        return option_fields.fields(self._handlers[handler].schema) if handler in self._handlers else ()

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        try:
            given = json.loads(value) if value else {}
        except ValueError:
            given = {}
        given = given if isinstance(given, dict) else {}
        sections = [self._section(name, one, given) for one in self._handlers.values()]
        context = super().get_context(name, value, attrs)
        return {**context, "sections": sections, "unknown": "" if self.chosen in self._handlers else self.chosen}

    def _section(self, name: str, handler: Known, given: Mapping[str, Any]) -> dict[str, Any]:
        chosen = handler.name == self.chosen
        prefix = f"{name}.{handler.name}"
        return {
            "name": handler.name,
            "docstring": handler.description,
            "timeout": handler.timeout,
            "options": [
                self._input(prefix, field, given if chosen else {}, chosen) for field in self._fields(handler.name)
            ],
        }

    def _input(self, prefix: str, field: Field, given: Any, chosen: bool) -> dict[str, Any]:
        """What the template needs of a field. Its value is the stored one, unless something was typed."""
        path = ".".join(field.path)
        given = given if isinstance(given, Mapping) else {}
        value = given.get(field.name)
        typed = self._typed if chosen else None
        text = typed.text(field) if typed is not None else option_texts.written(field, value)
        problems = self._problems.get(path, []) if chosen else []
        if typed is not None and field.secret and text != (kept := _without_secrets(field, text)):
            text, problems = kept, [*problems, _NOT_KEPT]
        picked = typed.chosen(field) if typed is not None else _shown(value)
        words = field.default_words
        told = "" if field.kind is Kind.CHOICE else words  # the first choice says it
        return {
            "name": f"{prefix}.{path}",
            "label": field.name,
            "kind": str(field.kind),
            "input": _element(field, text),
            "rows": min(max(text.count("\n") + 2, 3), 12),
            "required": field.required,
            "help": "; ".join(filter(None, (field.help, f"default: {told}" if told else ""))),
            "default": words,
            "value": text,
            "choices": [_choice(field, one, text, picked) for one in field.choices],
            "nothing": "" if field.nothing is ... else option_texts.words(field, field.nothing),
            "is_nothing": typed.is_nothing(field) if typed is not None else given.get(field.name, ...) == field.nothing,
            "problems": problems,
            "inner": [self._input(prefix, one, value, chosen) for one in field.inner],
        }

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        """Render by the site's templates: a form's own renderer knows only Django's."""
        return render_to_string(self.template_name, self.get_context(name, value, attrs))

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        """Return what was sent for the chosen handler, as JSON."""
        if name in data:
            return data[name]
        chosen = data.get("handler", "")
        if chosen not in self._handlers:
            return data.get(f"{name}.json", "{}").strip() or "{}"
        self._typed = Typed(data, f"{name}.{chosen}", self._fields(chosen))
        return json.dumps(self._typed.options)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return False  # an empty form is one without options

    def id_for_label(self, id_: str) -> str:
        # Each input has a label of its own.
        return ""


def _all(fields: Sequence[Field]) -> Iterator[Field]:
    for one in fields:
        yield one
        yield from _all(one.inner)


def _above(path: str) -> Iterator[str]:
    """The path, and those of what it lies in, from the inside out."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _with_rest(rest: str, message: str) -> str:
    """A message about a part of what an input holds: the items of a list count from 1, as lines do."""
    if not rest:
        return message
    return f"item {int(rest) + 1}: {message}" if rest.isdecimal() else f"{rest}: {message}"


def _shown(value: Any) -> list[str]:
    return [option_texts.shown(one) for one in value] if isinstance(value, list) else []


def _without_secrets(field: Field, text: str) -> str:
    """What was typed, without secrets that are not stored yet: masks, references and names stay."""
    try:
        value = option_texts.read(field, text)
    except ValueError:
        return ""
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_without_secret(one)}".strip() for name, one in value.items())
    if isinstance(value, list):
        return "\n".join(filter(None, map(_without_secret, value)))
    return _without_secret(value)


def _without_secret(value: Any) -> str:
    return str(value) if value == MASK or is_reference(value) else ""


def _element(field: Field, text: str) -> str:
    """The element of HTML that the field is typed into."""
    if field.kind in {Kind.LIST, Kind.MAPPING, Kind.JSON} or "\n" in text or len(text) > _LINE:
        return "textarea"
    if field.kind in {Kind.CHOICE, Kind.CHOICES, Kind.GROUP}:
        return str(field.kind)
    return "password" if field.secret and not is_reference(text) else "text"


def _choice(field: Field, value: Any, text: str, picked: Sequence[str]) -> dict[str, Any]:
    shown = option_texts.shown(value)
    return {
        "value": shown,
        "words": option_texts.words(field, value),
        "is_chosen": shown in picked if field.kind is Kind.CHOICES else shown == text,
    }
