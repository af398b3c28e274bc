"""Queues in requests and answers. Their settings are made from `queues.settings`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from queues.handlers.catalogue import Catalogue
from queues.models import Queue
from queues.naming import MAX_LENGTH, PATTERN
from queues.pausing import MAX_REASON
from queues.settings import ASKED, CHOSEN_FOR_ADOPTED, SETTINGS, Setting
from queuesite.api.schemas import Id, In, Out, Timestamp
from queuesite.foundation.config import get_config

M = TypeVar("M", bound=BaseModel)


def _as_changes(schema: dict[str, Any]) -> None:
    """Remove defaults, since settings that a change leaves out stay as they are."""
    schema["examples"] = [{"concurrency": 3}]
    for field in schema["properties"].values():
        field.pop("default", None)


#: Where a client finds what it may send.
_WHERE = {
    "handler": "; `GET /handlers` has those that are known, and another may be named before its worker comes",
    "handler_options": "; `GET /handlers` has their schema",
}


def _type(setting: Setting) -> Any:
    kind: Any = dict[str, Any] if setting.type is dict else setting.type
    return kind | None if setting.optional else kind


def _taken(setting: Setting) -> Any:
    limits: dict[str, Any] = {}
    if setting.bounds is not None:
        limits = dict(zip(("ge", "le"), setting.bounds, strict=True))
    elif setting.max_length is not None:
        limits = {"min_length": 1, "max_length": setting.max_length}
        if setting.pattern is not None:
            limits["pattern"] = f"^{setting.pattern}$"
    return Field(
        setting.default,
        **limits,
        description=setting.description("null") + (_WHERE.get(setting.name, "")),
        examples=[True if setting.type is bool else setting.default],
    )


def _given(setting: Setting) -> Any:
    masked = "; secrets are masked" if setting.name == "handler_options" else ""
    return Field(description=setting.description("null") + masked, examples=[setting.default])


def with_settings(settings: Mapping[str, Setting], field: Callable[[Setting], Any]) -> Callable[[type[M]], type[M]]:
    """A decorator: the schema with a field for each of these settings."""

    def extended(schema: type[M]) -> type[M]:
        made: Any = {name: (_type(setting), field(setting)) for name, setting in settings.items()}
        return create_model(
            schema.__name__, __base__=schema, __module__=schema.__module__, __doc__=schema.__doc__, **made
        )

    return extended


class Settings(In):
    """The settings that a request names."""

    def given(self) -> dict[str, Any]:
        """The settings that the request named, by their Python names."""
        return {name: value for name, value in self if name in self.model_fields_set and name in SETTINGS}


@with_settings(ASKED, _taken)
class QueueIn(Settings):
    """A queue to create."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "orders", "concurrency": 5, "handler": "log", "priority": 3}]}
    )

    name: str = Field(
        min_length=1,
        max_length=MAX_LENGTH - len(get_config().queue_name_prefix),
        pattern=f"^{PATTERN}$",
        description="letters, digits, hyphens and underscores; `.fifo` at the end makes it a FIFO queue. In SQS "
        "QUEUE_NAME_PREFIX is put before it, and together with the dead-letter queue's `-dlq` it has at most 80",
        examples=["orders"],
    )
    with_dlq: bool = Field(True, description="with a dead-letter queue, NAME-dlq", examples=[True])
    take_over: bool = Field(
        False,
        description="if SQS has such a queue or dead-letter queue already, take it over with its messages: its "
        "attributes are set as chosen here",
        examples=[False],
    )


@with_settings({name: one for name, one in CHOSEN_FOR_ADOPTED.items() if name != "handler"}, _taken)
class AdoptIn(Settings):
    """A queue of others to adopt."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"queue": "made-by-terraform", "handler": "log", "concurrency": 5}]}
    )

    queue: str = Field(
        min_length=1,
        max_length=500,
        description="its name in SQS (without QUEUE_NAME_PREFIX), its URL or its ARN; URL and ARN may be of another "
        "region and account",
        examples=["arn:aws:sqs:eu-central-1:123456789012:orders"],
    )
    name: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_LENGTH,
        pattern=f"^{PATTERN}$",
        description="its name here; null: that in SQS. It ends in `.fifo` if that does",
        examples=["orders"],
    )
    handler: str = Field(
        min_length=1,
        max_length=SETTINGS["handler"].max_length,
        description=SETTINGS["handler"].help + _WHERE["handler"],
        examples=["log"],
    )


class FoundOut(Out):
    """A queue in SQS that is not defined here."""

    name: str = Field(examples=["orders"])
    queue_url: str = Field(examples=["https://sqs.eu-central-1.amazonaws.com/123456789012/orders"])
    fifo: bool = Field(examples=[False])


class FoundPage(Out):
    """Queues in SQS that are not defined here."""

    items: list[FoundOut]


@with_settings(SETTINGS, _taken)
class QueuePatch(Settings):
    """Changes of a queue. Settings that are left out stay as they are."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        json_schema_extra=_as_changes,
    )


class DepthOut(Out):
    """How many messages a queue held when it was last observed. SQS's counts are approximate."""

    visible: int = Field(examples=[120])
    in_flight: int = Field(description="received and not yet deleted", examples=[5])
    delayed: int = Field(examples=[0])
    observed_at: Timestamp | None = Field(description="time of the counts; null: none yet")
    dead_letters: int = Field(description="in the dead-letter queue", examples=[2])
    dead_letters_observed_at: Timestamp | None = Field(description="when dead letters were counted; null: not yet")

    @classmethod
    def of(cls, queue: Queue) -> DepthOut:
        """What was last observed of a queue."""
        return cls(
            **asdict(queue.depth),
            observed_at=queue.depth_observed_at,
            dead_letters=queue.dead_letters,
            dead_letters_observed_at=queue.dead_letters_observed_at,
        )


@with_settings(SETTINGS, _given)
class QueueFields(Out):
    """A queue's settings, and its last observed state."""

    id: Id
    name: str = Field(examples=["orders"])
    queue_url: str = Field(examples=["https://sqs.eu-central-1.amazonaws.com/123456789012/orders"])
    dlq_url: str | None = Field(examples=["https://sqs.eu-central-1.amazonaws.com/123456789012/orders-dlq"])
    fifo: bool = Field(examples=[False])
    managed: bool = Field(
        description="false: others own the queue; what SQS holds of it is read and followed, never written",
        examples=[True],
    )
    queue_arn: str | None = Field(
        description="of a queue that others own, with its region and account",
        examples=["arn:aws:sqs:eu-central-1:123456789012:orders"],
    )
    retention_seconds: int | None = Field(
        description="how long SQS keeps a message; null unless others own the queue", examples=[345600]
    )
    max_message_bytes: int | None = Field(
        description="largest message that the queue takes; null unless others own it", examples=[262144]
    )
    pause_changed_at: Timestamp | None = Field(description="when it was last paused or resumed; null: never")
    pause_changed_by: str = Field(description="who did that", examples=["anna"])
    pause_reason: str = Field(description="and why", examples=["the bank is down until 14:00"])
    pause_change: str = Field(
        description="the action that did it, which `POST /undo` takes; empty: it cannot be undone", examples=[""]
    )
    vanished_at: Timestamp | None = Field(description="since when SQS does not have the queue that others own any more")
    depth: DepthOut
    crash_count: int = Field(description="runs in a row that failed", examples=[0])
    trip_count: int = Field(
        description="runs in a row that tripped, since what the handler needs was down; 0: it is not known to be",
        examples=[0],
    )
    trip_reason: str | None = Field(description="why the last of them tripped", examples=["stripe is unavailable"])
    not_before: Timestamp | None = Field(description="end of the backoff after a failed or tripped run: the next try")
    troubled_until: Timestamp | None = Field(
        description="until then, messages that were received before are handled one at a time"
    )
    wake_requested_at: Timestamp | None = Field(description="time of the last wake-up, such as a send")
    created_at: Timestamp | None
    updated_at: Timestamp | None
    synced_at: Timestamp | None = Field(description="when it was last compared with SQS")

    @classmethod
    def values(cls, queue: Queue, handlers: Catalogue) -> dict[str, Any]:
        """The fields' values, with secrets masked."""
        fields = QueueFields.model_fields
        options = handlers.named(queue.handler).masked_options(queue.handler_options)
        values = {name: getattr(queue, name) for name in fields if name != "depth"}
        return {**values, "handler_options": options, "depth": DepthOut.of(queue)}


class NamesIn(In):
    """Names of queues."""

    queues: list[str] = Field(
        min_length=1, max_length=1_000, description="names of queues", examples=[["orders", "invoices"]]
    )


class PauseIn(In):
    """Why a queue is paused or resumed."""

    reason: str = Field(
        default="", max_length=MAX_REASON, description="kept on the queue", examples=["the bank is down until 14:00"]
    )


_CHANGE = "9f2c1e0b7a6d5c4f9f2c1e0b7a6d5c4f"


class PausedOut(Out):
    """Whether a queue is paused."""

    name: str = Field(examples=["orders"])
    paused: bool = Field(examples=[True])
    changed: bool = Field(description="whether this request changed it", examples=[True])
    change: str | None = Field(description="what `POST /undo` takes; null: nothing changed", examples=[_CHANGE])


class PauseManyIn(NamesIn, PauseIn):
    """Which queues to pause or resume, and why."""


class PausedManyOut(Out):
    """What pausing or resuming several queues changed."""

    paused: bool = Field(examples=[True])
    changed: list[str] = Field(description="the queues that this request changed", examples=[["orders"]])
    change: str | None = Field(description="what `POST /undo` takes; null: nothing changed", examples=[_CHANGE])


class UndoIn(In):
    """What to undo."""

    change: str = Field(
        min_length=1,
        max_length=32,
        description="`change` of an answer, or `pauseChange` of a queue",
        examples=[_CHANGE],
    )


class UndoneOut(Out):
    """What was undone."""

    queues: list[str] = Field(
        description="the queues that are as before; without those that were paused or resumed again since",
        examples=[["orders"]],
    )


class TriedNowOut(Out):
    """Whether a queue's backoff was ended."""

    name: str = Field(examples=["orders"])
    changed: bool = Field(description="whether it backed off until now", examples=[True])


class PurgedOut(Out):
    """A queue that was purged."""

    name: str = Field(examples=["orders"])
    purged: bool = Field(examples=[True])
