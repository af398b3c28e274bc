"""A queue's settings as a form, with an input for each option of its handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminNullBooleanSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from jobs.admin.option_inputs import OptionsWidget
from queues import adoption, naming, services, setting_checks, settings, sources
from queues.handlers import catalogue
from queues.handlers.option_errors import FIELD
from queues.models import Queue
from queues.settings import ASKED, CHOSEN_FOR_ADOPTED, Setting
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from queuesite.foundation.problems import Problems

if TYPE_CHECKING:
    QueueModelForm = forms.ModelForm[Queue]
else:
    QueueModelForm = forms.ModelForm  # not generic at run time


#: The class of a heading whose settings the page shows as soon as the name is a FIFO queue's.
_FIFO_CLASS = "qs-fifo"


def fieldsets(
    instead: Mapping[str, str], known: Mapping[str, Setting] = ASKED, *, fifo: bool = True
) -> list[tuple[str, dict[str, Any]]]:
    """Those settings that are known under their headings, some of them replaced by other fields.

    Without `fifo`, what only FIFO queues have is left out.
    """
    found = []
    for title, names in settings.groups().items():
        shown = [name for name in names if name in known and (fifo or not known[name].fifo_only)]
        only = all(known[name].fifo_only for name in shown)
        if shown:
            fields = tuple(instead.get(name, name) for name in shown)
            found.append((title, {"fields": fields, "classes": (_FIFO_CLASS,)} if only else {"fields": fields}))
    return found


def help_text(setting: Setting) -> str:
    """What a setting means, its limits, its default in words, and when a change takes effect."""
    words = setting.help.replace("`", "")  # which mark code in the docs
    if setting.bounds is not None:
        low, high = setting.bounds
        words += f"; {low:,} to {high:,}"
    empty = setting.optional and setting.type is not bool  # of which a choice says that
    words += f"; {'empty (the default)' if empty else 'default'}: {setting.default_now}"
    if setting.held_by_sqs:
        words += f"; set in SQS at once, for messages {'sent' if setting.fifo_only else 'received'} from then on"
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


class QueueForm(QueueModelForm):
    """A queue's settings, checked by the rules of the services."""

    with_dlq = forms.BooleanField(
        label="Dead-letter queue",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="created beside the queue, as NAME-dlq",
    )
    take_over = forms.BooleanField(
        label="Take over",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="a queue that SQS has already: it keeps its messages, and its attributes are set as chosen here",
    )

    class Meta:
        model = Queue
        fields = ("name", *ASKED)
        error_messages = {  # noqa: RUF012 - as Django declares it
            "name": {"unique": "a queue of this name exists already; choose another name, or change that queue"}
        }

    #: The field that names the queue in SQS.
    subject = "name"
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
                elif setting.type is bool:
                    answers = UnfoldAdminNullBooleanSelectWidget()
                    answers.choices = [("unknown", setting.said(None)), ("true", "yes"), ("false", "no")]
                    self.fields[name].widget = answers
                if self.instance.pk is None:
                    self.initial.setdefault(name, setting.default)

    def clean(self) -> dict[str, Any]:
        """Apply the rules of the services; their errors become errors of fields."""
        cleaned = super().clean() or self.cleaned_data
        chosen = {name: cleaned[name] for name in ASKED if name in cleaned}
        if "handler" in self.fields and "handler" not in chosen:
            chosen.pop(FIELD, None)  # of which handler they are is not known
        problems = Problems()
        if self.instance.pk is None:
            with problems.noted():
                self.check_name(cleaned)
        with problems.noted():
            current = self.instance if self.instance.pk else None
            setting_checks.validate_settings(chosen, current=current, name=cleaned.get("name"))
        try:
            problems.raise_all()
        except InvalidInput as error:
            self.tell(error)
        return cleaned

    def tell(self, error: InvalidInput) -> None:
        """Show an error at each field that it names, and what it says of an option at that option."""
        options = []
        for name, message in error.by_field:
            field, _, path = name.partition(".")
            if field == FIELD and field in self.fields:
                options.append((path, message))
            else:
                self.add_error(field if field in self.fields else None, message)
        widget = self.fields[FIELD].widget if options else None
        if isinstance(widget, OptionsWidget):
            self.add_error(FIELD, widget.tell(options))  # each of them

    def full_clean(self) -> None:
        """Also create a new queue: what prevents it becomes an error of the form, which keeps what was typed."""
        super().full_clean()
        if self.is_bound and self.instance.pk is None and not self.errors:
            chosen = {name: self.cleaned_data[name] for name in ASKED if name in self.cleaned_data}
            try:
                with mongodb_errors():
                    self.created = self.create(chosen)
            except InvalidInput as error:
                self.tell(error)
            except AlreadyExists as error:
                self.add_error("name", str(error))
            except (NotFound, Conflict) as error:
                self.add_error(self.subject, str(error))

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
        error_messages = QueueForm.Meta.error_messages

    subject = "queue"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False
        self.fields["name"].help_text = "its name here; empty: the same as in SQS"

    def check_name(self, cleaned: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` for a queue that cannot exist, or a name that does not fit it."""
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
