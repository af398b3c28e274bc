"""Whether settings may be stored for a queue: each by itself, and with its handler and its owner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from queues.handlers import catalogue
from queues.models import Queue
from queues.naming import is_fifo
from queues.settings import MAX_OPTIONS_BYTES, SETTINGS, Setting
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.problems import Problems


def validate_settings(
    settings: Mapping[str, Any],
    *,
    current: Queue | None = None,
    name: str | None = None,
    known: Mapping[str, Setting] = SETTINGS,
) -> dict[str, Any]:
    """Return the settings to store: the stored value replaces each masked option.

    `name` is that of a queue that does not exist yet. Raises `InvalidInput` that names everything that is wrong:
    settings that are not `known`, are out of range, are not for such a queue, belong to the queue's owner, or do not
    fit the handler.
    """
    problems = Problems()
    queue_name = current.name if current is not None else name
    for one, value in settings.items():
        if one not in known:
            raise InvalidInput(f"{one!r} is not a setting of a queue; those are {', '.join(known)}")
        with problems.noted():
            known[one].check(value)
            if known[one].fifo_only and value is not None and queue_name is not None and not is_fifo(queue_name):
                raise InvalidInput(
                    f"{known[one].words} is only for FIFO queues, whose names end in .fifo, which {queue_name!r} does "
                    "not: leave it out",
                    field=one,
                )
            if current is not None and not current.managed and SETTINGS[one].held_by_sqs:
                _refuse_of_owner(current, SETTINGS[one], value)
            if one == "pool" and value is not None and (current is None or value != current.pool):
                catalogue.current().check_pool(value)
    if "handler" in settings or "handler_options" in settings:
        settings = _with_options(settings, current, problems)
    problems.raise_all()
    return dict(settings)


def _with_options(settings: Mapping[str, Any], current: Queue | None, problems: Problems) -> Mapping[str, Any]:
    """The settings with the options to store, if they name any. What is wrong with the options becomes a problem."""
    known_handlers = catalogue.current()
    named = settings.get("handler", current.handler if current else SETTINGS["handler"].default)
    handler = known_handlers.named(named)
    stored = (current.handler_options or {}) if current else {}
    same = current is not None and current.handler == handler.name
    options = settings.get("handler_options", stored)
    with problems.noted():
        _check_size(options)
        if "handler_options" in settings:
            with problems.noted():
                options = handler.kept_options(options, stored if same else {})
            settings = {**settings, "handler_options": options}
        elif (
            current is not None and not same and known_handlers.named(current.handler).masked_options(stored) != stored
        ):
            raise InvalidInput(
                f"the options of handler {current.handler!r} hold secrets, which {handler.name!r} does not take over; "
                "give its own options with it",
                field="handler_options",
            )
        handler.check_options(options)
    return settings


def _check_size(options: Any) -> None:
    """Raise `InvalidInput` for options that are no mapping, or more than a queue may have."""
    if not isinstance(options, Mapping):
        raise InvalidInput(
            f"handler options are a {type(options).__name__}; expected a JSON object", field="handler_options"
        )
    size = len(json.dumps(options, default=str).encode())
    if size > MAX_OPTIONS_BYTES:
        raise InvalidInput(
            f"handler options have {size:,} bytes as JSON: expected {MAX_OPTIONS_BYTES:,} at most; "
            "keep what is larger elsewhere, and name it",
            field="handler_options",
        )


def warnings(queue: Queue) -> list[str]:
    """What a person should know of a queue's handler and options: a handler that nobody knows, options that it refuses.

    Raises pymongo's errors.
    """
    return catalogue.current().warnings(queue.handler, queue.handler_options)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value


def _refuse_of_owner(queue: Queue, setting: Setting, value: Any) -> None:
    """Raise `InvalidInput` for another value than the one that SQS holds."""
    if value != (held := getattr(queue, setting.name)):
        raise InvalidInput(
            f"{setting.words} of queue {queue.name!r} is {_plain(held)} and belongs to the owner of {queue.queue_arn}: "
            "change it where that queue is made (Terraform, CloudFormation, the AWS console); the next sync follows",
            field=setting.name,
        )
