"""A queue's settings as a form, with an input for each option of its handler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from queues import adoption, naming, services, setting_checks, settings, sources
from queues.handlers import catalogue, schemas
from queues.handlers.catalogue import Catalogue, Known
from queues.handlers.schemas import Option
from queues.models import Queue
from queues.settings import ASKED, CHOSEN_FOR_ADOPTED, Setting
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    QueueModelForm = forms.ModelForm[Queue]
else:
    QueueModelForm = forms.ModelForm  # not generic at run time


def fieldsets(instead: Mapping[str, str], known: Mapping[str, Setting] = ASKED) -> list[tuple[str, dict[str, Any]]]:
    """Those settings that are known under their headings, some of them replaced by other fields."""
    groups = {title: [name for name in names if name in known] for title, names in settings.groups().items()}
    return [
        (title, {"fields": tuple(instead.get(name, name) for name in names)})
        for title, names in groups.items()
        if names
    ]


def help_text(setting: Setting) -> str:
    """What a setting means, its limits, and when a change takes effect."""
    words = setting.help
    if setting.bounds is not None:
        low, high = setting.bounds
        words += f"; {low} to {high:,}"
    if setting.optional:
        words += f"; empty: {setting.empty}"
    if setting.held_by_sqs:
        words += "; set in SQS at once, for messages received from then on"
    if setting.followed:
        words += "; running consumers follow within seconds"
    return words


class HandlerWidget(UnfoldAdminSelectWidget):
    """A choice of the known handlers, or the name of one that nobody knows yet, which the options' widget asks for."""

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        """Return the choice, or the name that was typed."""
        return data.get(name) or data.get(f"{name}.name", "").strip()


class WordsWidget(UnfoldAdminCheckboxSelectMultipleWidget):
    """A box to check for each word that a setting may have; the value is those words, separated by commas."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(choices=[(word, word) for word in words])

    def format_value(self, value: Any) -> list[str]:
        """The words of a value."""
        return value.split(",") if value else []

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        """The checked words as the setting has them."""
        return ",".join(data.getlist(name) if hasattr(data, "getlist") else data.get(name, []))


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

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        try:
            given = json.loads(value) if value else {}
        except ValueError:
            given = {}
        given = given if isinstance(given, dict) else {}
        sections = [
            {
                "name": one.name,
                "docstring": one.description,
                "timeout": one.timeout,
                "options": list(_inputs(name, one, given if one.name == self.chosen else {})),
            }
            for one in self._handlers.values()
        ]
        context = super().get_context(name, value, attrs)
        return {**context, "sections": sections, "unknown": "" if self.chosen in self._handlers else self.chosen}

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
        found: dict[str, Any] = {}
        for option in schemas.options(self._handlers[chosen].schema):
            text = data.get(f"{name}.{chosen}.{option.name}", "").strip()
            if text:
                found[option.name] = _value(option, text)
        return json.dumps(found)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return False  # an empty form is one without options

    def id_for_label(self, id_: str) -> str:
        # Each input has a label of its own.
        return ""


def _value(option: Option, text: str) -> Any:
    """Return what was typed, parsed as JSON unless the option is text. What is not JSON is refused by its schema."""
    if option.kind == "text":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _inputs(name: str, handler: Known, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for option in schemas.options(handler.schema):
        value = given.get(option.name)
        yield {
            "name": f"{name}.{handler.name}.{option.name}",
            "label": option.name,
            "kind": option.kind,
            "choices": option.choices,
            "required": option.required,
            "help": option.help,
            "default": "" if option.default is None else _shown(option.default),
            "value": "" if value is None else _shown(value),
        }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


class QueueForm(QueueModelForm):
    """A queue's settings, checked by the rules of the services."""

    with_dlq = forms.BooleanField(
        label="with a dead-letter queue",
        required=False,
        initial=True,
        help_text="created beside the queue, as NAME-dlq",
    )
    take_over = forms.BooleanField(
        label="take over",
        required=False,
        help_text="a queue that SQS has already: it keeps its messages, and its attributes are set as chosen here",
    )

    class Meta:
        model = Queue
        fields = ("name", *ASKED)

    #: The queue that a valid form has created.
    created: Queue | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handlers = catalogue.current()
        chosen = ""
        if "handler" in self.fields:
            widget = HandlerWidget()
            self.fields["handler"].widget = widget
            chosen = str(self["handler"].value() or "")
            unknown = {self.instance.handler if self.instance.pk else "", chosen} - {"", *handlers}
            widget.choices = [
                *((name, f"{name}: {one.summary}") for name, one in handlers.items()),
                *((name, f"{name} (no live worker has it)") for name in sorted(unknown)),
                ("", "another, by its name"),
            ]
        if "handler_options" in self.fields:
            if self.instance.pk:
                known = handlers.named(self.instance.handler)
                self.initial["handler_options"] = known.masked_options(self.instance.handler_options)
            options = OptionsWidget(handlers)
            options.chosen = chosen
            self.fields["handler_options"].widget = options
        for name, setting in ASKED.items():
            if name in self.fields:
                self.fields[name].help_text = help_text(setting)
                if setting.choices:
                    self.fields[name].widget = WordsWidget(setting.choices)
                if self.instance.pk is None:
                    self.initial.setdefault(name, setting.default)

    def clean(self) -> dict[str, Any]:
        """Apply the rules of the services; their errors become errors of fields."""
        cleaned = super().clean() or self.cleaned_data
        chosen = {name: cleaned[name] for name in ASKED if name in cleaned}
        try:
            if self.instance.pk is None:
                self.check_name(cleaned)
            setting_checks.validate_settings(chosen, current=self.instance if self.instance.pk else None)
        except InvalidInput as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        return cleaned

    def full_clean(self) -> None:
        """Also create a new queue: what stands against it becomes an error of the form, which keeps what was typed."""
        super().full_clean()
        if self.is_bound and self.instance.pk is None and not self.errors:
            chosen = {name: self.cleaned_data[name] for name in ASKED if name in self.cleaned_data}
            try:
                with mongodb_errors():
                    self.created = self.create(chosen)
            except (InvalidInput, NotFound, Conflict) as error:
                field = getattr(error, "field", None)
                self.add_error(field if field in self.fields else None, str(error))

    def check_name(self, cleaned: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` for a name that a new queue cannot have."""
        if "name" in cleaned:
            prefix = get_config().queue_name_prefix
            naming.validate_name(cleaned["name"], prefix=prefix, with_dlq=cleaned.get("with_dlq", True))

    def create(self, chosen: Mapping[str, Any]) -> Queue:
        """Create the queue. Raises `QueuesiteError`."""
        cleaned = self.cleaned_data
        return services.create(
            cleaned["name"], with_dlq=cleaned["with_dlq"], settings=chosen, take_over=cleaned["take_over"]
        )


class AdoptForm(QueueForm):
    """A queue that others own: which, and the settings that are not theirs."""

    queue = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="its name in SQS, its URL or its ARN; URL and ARN may be of another region and account",
    )

    class Meta:
        model = Queue
        fields = ("name", *CHOSEN_FOR_ADOPTED)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False
        self.fields["name"].help_text = "its name here; empty: the same as in SQS"

    def check_name(self, cleaned: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` for a queue that cannot be, or a name that does not fit it."""
        if "queue" in cleaned and "name" in cleaned:
            source = sources.parse(cleaned["queue"])
            cleaned["name"] = self.instance.name = cleaned["name"] or source.name  # type: ignore[index]
            adoption.check_name(cleaned["name"], source)

    def create(self, chosen: Mapping[str, Any]) -> Queue:
        """Adopt the queue. Raises `QueuesiteError`."""
        cleaned, settings = self.cleaned_data, dict(chosen)
        return adoption.adopt(
            cleaned["queue"], handler=settings.pop("handler"), name=cleaned["name"], settings=settings
        )
