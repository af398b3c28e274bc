"""A queue's settings as a form, with an input for each option of its handler."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from queues import adoption, naming, services, settings, sources
from queues.handlers import registry
from queues.handlers.registry import Handler
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


class OptionsWidget(forms.Widget):
    """Inputs for the options of each handler; the browser sends those of the chosen handler (queues.js).

    An empty input leaves its option out, so that the handler's default holds. JSON under the field's own name is
    accepted too: it keeps the options of a handler that is not registered.
    """

    template_name = "jobs/options.html"

    def __init__(self) -> None:
        super().__init__()
        self.chosen = ""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        try:
            given = json.loads(value) if value else {}
        except ValueError:
            given = {}
        given = given if isinstance(given, dict) else {}
        handlers = registry.all_handlers()
        sections = [
            {
                "name": one.name,
                "docstring": inspect.getdoc(one.function) or "",
                "timeout": one.timeout,
                "options": list(_inputs(name, one, given if one.name == self.chosen else {})),
            }
            for one in handlers.values()
        ]
        context = super().get_context(name, value, attrs)
        return {**context, "sections": sections, "kept": self.chosen not in handlers}

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        """Render by the site's templates: a form's own renderer knows only Django's."""
        return render_to_string(self.template_name, self.get_context(name, value, attrs))

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        """Return what was sent for the chosen handler, as JSON."""
        if name in data:
            return data[name]
        chosen = data.get("handler", "")
        handler = registry.all_handlers().get(chosen)
        found: dict[str, Any] = {}
        for option, info in _options(handler):
            text = data.get(f"{name}.{chosen}.{option}", "").strip()
            if text:
                found[option] = _value(info, text)
        return json.dumps(found)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return False  # an empty form is one without options

    def id_for_label(self, id_: str) -> str:
        # Each input has a label of its own.
        return ""


def _options(handler: Handler | None) -> list[tuple[str, FieldInfo]]:
    return list(handler.options.model_fields.items()) if handler is not None and handler.options is not None else []


def _kind(info: FieldInfo) -> tuple[str, list[str]]:
    """`number`, `text`, `json` or `choice`, and the choices as they are sent."""
    types = [one for one in get_args(info.annotation) or (info.annotation,) if one is not NoneType]
    if types == [SecretStr]:
        return "text", []
    if get_origin(info.annotation) is Literal:
        return "choice", [one if isinstance(one, str) else json.dumps(one) for one in types]
    if types == [bool]:
        return "choice", ["true", "false"]
    if types and all(one in (int, float) for one in types):
        return "number", []
    return ("text" if types == [str] else "json"), []


def _value(info: FieldInfo, text: str) -> Any:
    """Return what was typed, parsed as JSON unless the option is text. The handler's model refuses what is not JSON."""
    if _kind(info)[0] == "text":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _inputs(name: str, handler: Handler, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for option, info in _options(handler):
        kind, choices = _kind(info)
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        value = given.get(option)
        yield {
            "name": f"{name}.{handler.name}.{option}",
            "label": option,
            "kind": kind,
            "choices": choices,
            "required": info.is_required(),
            "help": info.description or "",
            "default": "" if default is None else _shown(default),
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
        handlers = registry.all_handlers()
        names = set(handlers) | ({self.instance.handler} if self.instance.pk else set())
        if "handler" in self.fields:
            self.fields["handler"].widget = UnfoldAdminSelectWidget(
                choices=[
                    (name, f"{name}: {handlers[name].summary}" if name in handlers else f"{name} (not registered)")
                    for name in sorted(names)
                ]
            )
        if "handler_options" in self.fields:
            if self.instance.pk:
                self.initial["handler_options"] = registry.masked_options(
                    self.instance.handler, self.instance.handler_options
                )
            widget = OptionsWidget()
            widget.chosen = str(self["handler"].value() or "")
            self.fields["handler_options"].widget = widget
        for name, setting in ASKED.items():
            if name in self.fields:
                self.fields[name].help_text = help_text(setting)
                if self.instance.pk is None:
                    self.initial.setdefault(name, setting.default)

    def clean(self) -> dict[str, Any]:
        """Apply the rules of the services; their errors become errors of fields."""
        cleaned = super().clean() or self.cleaned_data
        chosen = {name: cleaned[name] for name in ASKED if name in cleaned}
        try:
            if self.instance.pk is None:
                self.check_name(cleaned)
            services.validate_settings(chosen, current=self.instance if self.instance.pk else None)
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
