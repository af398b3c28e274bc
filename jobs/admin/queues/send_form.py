"""The form for sending messages: one or many, typed or uploaded, checked by the API's rules."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

from django import forms
from pydantic import ValidationError
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from jobs.admin.queues import payload_fields
from queues.api.message_schemas import MessageIn
from queues.handlers import catalogue
from queues.message_rules import MAX_ATTRIBUTES
from queues.messages import validate_messages
from queues.models import Queue
from queues.sqs import MAX_DELAY_SECONDS, OutgoingMessage
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput

#: More messages than this are sent in the background.
AT_ONCE = 100
#: Most errors that one answer names.
_NAMED = 5


#: What messages share, by its name in the API.
_SHARED = {"attributes": "attributes", "delay": "delay", "group": "group", "deduplicationId": "deduplication_id"}
_KINDS = [("text", "text"), ("json", "JSON")]
_BY_CONTENT = "SQS drops what comes with the same one within five minutes; empty: the same body counts as the same"
#: The body is made from the fields of the handler's payload.
PAYLOAD = "payload"


class SendForm(forms.Form):
    """What to send. If it is valid, `outgoing` has the messages and `payload` the body of the same API request."""

    kind = forms.ChoiceField(
        label="Body is",
        choices=_KINDS,
        widget=UnfoldAdminSelectWidget,
        help_text="JSON is checked for its syntax and sent as it is",
    )
    body = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="at most 1 MiB with the attributes",
    )
    each_line = forms.BooleanField(
        label="Each line is a message", required=False, help_text="empty lines are left out; always so with a file"
    )
    file = forms.FileField(
        label="Or a file",
        required=False,
        widget=UnfoldAdminFileFieldWidget,
    )
    attributes = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=f'a JSON object of up to {MAX_ATTRIBUTES}, such as {{"colour": "blue", "size": 3}}; of each message',
    )
    delay = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_DELAY_SECONDS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"seconds until it can be received, 0 to {MAX_DELAY_SECONDS}; empty: 0",
    )
    group = forms.CharField(
        label="Message group",
        max_length=128,
        widget=UnfoldAdminTextInputWidget,
        help_text="messages of a group are handled one after another, in order",
        error_messages={"required": "a message to a FIFO queue needs a message group"},
    )
    deduplication_id = forms.CharField(
        label="Deduplication id",
        required=False,
        max_length=128,
        widget=UnfoldAdminTextInputWidget,
        help_text="SQS drops what comes with the same one within five minutes; empty: a new one for each message",
    )
    times = forms.IntegerField(
        min_value=1,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"how often each is sent; more than {AT_ONCE} messages together go in the background",
    )

    def __init__(self, queue: Queue, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue
        self.handler = catalogue.current().named(queue.handler)
        if parts := payload_fields.fields(self.handler):
            kind = self.fields["kind"]
            assert isinstance(kind, forms.ChoiceField)
            kind.choices = [(PAYLOAD, f"a payload of {queue.handler}, from its fields"), *_KINDS]
            self.fields = {"kind": kind, **parts, **self.fields}
            self.initial.setdefault("kind", PAYLOAD)
        self.outgoing: list[OutgoingMessage] = []
        self.payload: dict[str, Any] = {}
        most = get_config().api_max_body_mb
        self.fields["file"].help_text = f"UTF-8, a message on each line, at most {most} MiB (API_MAX_BODY_MB)"
        if queue.fifo:
            del self.fields["delay"]
            if queue.content_based_deduplication:
                self.fields["deduplication_id"].help_text = _BY_CONTENT
        else:
            del self.fields["deduplication_id"]
            self.fields["group"].required = False
            self.fields["group"].help_text = "such as a customer: SQS lets no group delay the others (fair queues)"

    def clean_file(self) -> str | None:
        """Return the file's text."""
        file = self.cleaned_data["file"]
        if file is None:
            return None
        if file.size > (most := get_config().api_max_body_mb << 20):
            raise forms.ValidationError(f"it has {file.size:,} bytes: at most {most:,} are taken (API_MAX_BODY_MB)")
        try:
            return str(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise forms.ValidationError(f"it is not UTF-8: see its byte {error.start:,}") from None

    def clean_attributes(self) -> Any:
        """Return the attributes from their JSON. The rules of messages check them later."""
        text = self.cleaned_data["attributes"].strip()
        try:
            given = json.loads(text) if text else {}
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"not JSON: {error}") from None
        if not isinstance(given, dict):
            raise forms.ValidationError('expected a JSON object, such as {"colour": "blue"}')
        return given

    def clean(self) -> dict[str, Any]:
        """Apply the API's rules. An error is shown at its field, with the line if there are several."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        try:
            field, bodies = self._bodies(cleaned)
        except InvalidInput as error:
            for name, message in error.by_field:
                self.add_error(name if name in self.fields else None, message)
            return cleaned
        most = get_config().api_max_bulk
        if len(bodies) * cleaned["times"] > most:
            self.add_error("times", f"{len(bodies) * cleaned['times']:,} messages: at most {most:,} (API_MAX_BULK)")
        if cleaned.get("deduplication_id") and len(bodies) * cleaned["times"] > 1:
            self.add_error("deduplication_id", "SQS would drop all but the first of these messages: leave it empty.")
        if not bodies:
            self.add_error("body", "Enter a body, or choose a file.")
        if cleaned["kind"] == "json":
            self._check_json(field, bodies)
        if self.errors:
            return cleaned
        common = {name: cleaned[of] for name, of in _SHARED.items() if cleaned.get(of) not in (None, "", {})}
        self.payload = {"messages": [{"body": body, **common} for _, body in bodies]}
        try:
            # What all messages share is checked once.
            first = MessageIn.model_validate({**common, "body": "x"}).outgoing()
            self.outgoing = [replace(first, body=body) for _, body in bodies]
            validate_messages(self.queue, self.outgoing)
        except ValidationError as error:
            for item in error.errors():
                place = _SHARED.get(str(item["loc"][0]), "")
                named = ".".join(str(part) for part in item["loc"][1:] if not str(part).startswith("<"))
                self.add_error(
                    place if place in self.fields else None, f"{named}: {item['msg']}" if named else item["msg"]
                )
        except InvalidInput as error:
            self.add_error(
                field if error.field == "body" else error.field if error.field in self.fields else None, str(error)
            )
        return cleaned

    def _bodies(self, cleaned: dict[str, Any]) -> tuple[str, list[tuple[int, str]]]:
        """The field that the bodies are from, and each body with its line. Raises `InvalidInput` for a payload."""
        if cleaned["kind"] == PAYLOAD:
            if cleaned["body"] or cleaned["file"] is not None:
                raise InvalidInput(
                    "Body is the payload's fields: leave this empty, or choose text or JSON.", field="body"
                )
            return "kind", [(1, payload_fields.body(self.handler, cleaned))]
        field = "body" if cleaned["file"] is None else "file"
        text = cleaned[field] or ""
        if field == "body" and not cleaned["each_line"]:
            # A browser ends the lines of a textarea by CR LF.
            return field, [(1, text.replace("\r\n", "\n"))] if text else []
        return field, [(place, line) for place, line in enumerate(text.splitlines(), 1) if line.strip()]

    def _check_json(self, field: str, bodies: list[tuple[int, str]]) -> None:
        several = field == "file" or self.cleaned_data["each_line"]
        wrong = 0
        for place, body in bodies:
            try:
                json.loads(body)
            except (ValueError, RecursionError) as error:
                self.add_error(field, f"line {place} is not JSON: {error}" if several else f"not JSON: {error}")
                wrong += 1
                if wrong == _NAMED:
                    return

    def command(self, url: str) -> str | None:
        """The command that sends the same through the API. None, with a form error, if it is too long for a shell."""
        if len(self.outgoing) > AT_ONCE:
            self.add_error(None, f"{len(self.outgoing):,} messages are too many for a command: send them from here.")
            return None
        if self.cleaned_data["times"] == 1:
            return curl("POST", url, self.payload)
        return curl("POST", f"{url}/bulk", {**self.payload, "repeat": self.cleaned_data["times"]})


def curl(method: str, url: str, payload: Any = None) -> str:
    """The command for the same API request, for a shell with a token in QUEUESITE_TOKEN."""
    words = ["curl", "--fail-with-body", "-X", method, '-H "Authorization: Bearer $QUEUESITE_TOKEN"']
    if payload is not None:
        words += ["-H 'Content-Type: application/json'", "--data-raw", shlex.quote(json.dumps(payload))]
    return " ".join([*words, shlex.quote(url)])
