"""Queues as the API takes and gives them. Limits are those of the services."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from queues import services
from queues.handlers import registry
from queues.models import (
    DEFAULT_HANDLER,
    DEFAULT_MAX_RECEIVE_COUNT,
    DEFAULT_VISIBILITY_TIMEOUT,
    Queue,
)
from queues.naming import MAX_LENGTH, PATTERN
from queuesite.api.schemas import Id, In, Out, Timestamp
from queuesite.config import get_config


def _within(setting: str) -> dict[str, Any]:
    low, high = services.limits()[setting]
    return {"ge": low, "le": high}


def _known_handlers(schema: dict[str, Any]) -> None:
    schema["enum"] = list(registry.all_handlers())


def _as_changes(schema: dict[str, Any]) -> None:
    """What is left out of a change stays as it is, so there are no defaults."""
    schema["examples"] = [{"concurrency": 3}]
    for name, field in schema["properties"].items():
        field.pop("default", None)
        if name == "handler":
            _known_handlers(field)


class Settings(In):
    """The settings of a queue."""

    concurrency: int = Field(
        get_config().default_concurrency,
        **_within("concurrency"),
        description="messages handled at once by one consumer; at most MAX_CONCURRENCY",
        examples=[5],
    )
    handler: str = Field(
        DEFAULT_HANDLER,
        min_length=1,
        max_length=registry.MAX_NAME_LENGTH,
        description="name of a registered handler",
        examples=["log"],
        json_schema_extra=_known_handlers,
    )
    handler_options: dict[str, Any] = Field(
        {},
        description="the handler's options; `GET /handlers` has their schema. A value may be `env:NAME`, a variable of "
        "the worker's environment",
        examples=[{}],
    )
    priority: int = Field(0, **_within("priority"), description="higher is served first", examples=[0])
    max_consumers: int = Field(
        1,
        **_within("max_consumers"),
        description="consumers that may share the queue while its backlog is large",
        examples=[1],
    )
    visibility_timeout: int = Field(
        DEFAULT_VISIBILITY_TIMEOUT,
        **_within("visibility_timeout"),
        description="seconds that a received message stays hidden; extended while it is handled",
        examples=[30],
    )
    max_receive_count: int = Field(
        DEFAULT_MAX_RECEIVE_COUNT,
        **_within("max_receive_count"),
        description="receives after which a message goes to the dead-letter queue",
        examples=[5],
    )

    timeout: int | None = Field(
        None,
        **_within("timeout"),
        description="seconds that the handler may take for one message; null: the handler's own limit, if it has one",
        examples=[None],
    )

    def given(self) -> dict[str, Any]:
        """The settings that the request named, by their Python names."""
        return {name: value for name, value in self if name in self.model_fields_set and name in services.SETTINGS}


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


class QueuePatch(Settings):
    """Changes of a queue: what is left out stays as it is."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        json_schema_extra=_as_changes,
    )

    paused: bool = Field(False, description="a paused queue is not processed", examples=[True])


class DepthOut(Out):
    """What a queue held when it was last looked at. SQS's counts are approximate."""

    visible: int = Field(examples=[120])
    in_flight: int = Field(description="handed out and not yet deleted", examples=[5])
    delayed: int = Field(examples=[0])
    observed_at: Timestamp | None = Field(description="when; null: not yet")
    dead_letters: int = Field(description="in the dead-letter queue", examples=[2])
    dead_letters_observed_at: Timestamp | None = Field(description="when those were counted; null: not yet")


class QueueFields(Out):
    """A queue: its settings, and what was last seen of it."""

    id: Id
    name: str = Field(examples=["orders"])
    queue_url: str = Field(examples=["https://sqs.eu-central-1.amazonaws.com/123456789012/orders"])
    dlq_url: str | None = Field(examples=["https://sqs.eu-central-1.amazonaws.com/123456789012/orders-dlq"])
    fifo: bool = Field(examples=[False])
    paused: bool = Field(examples=[False])
    concurrency: int = Field(examples=[5])
    handler: str = Field(examples=["log"])
    handler_options: dict[str, Any] = Field(description="secrets are masked", examples=[{}])
    priority: int = Field(examples=[0])
    max_consumers: int = Field(examples=[1])
    visibility_timeout: int = Field(description="seconds", examples=[30])
    max_receive_count: int = Field(examples=[5])
    timeout: int | None = Field(description="seconds; null: the handler's own limit", examples=[None])
    depth: DepthOut
    crash_count: int = Field(description="runs in a row that failed", examples=[0])
    not_before: Timestamp | None = Field(description="end of the backoff after a failed run")
    troubled_until: Timestamp | None = Field(
        description="messages that were received before are handled alone until then"
    )
    wake_requested_at: Timestamp | None = Field(description="when somebody last asked to have it looked at")
    created_at: Timestamp | None
    updated_at: Timestamp | None
    synced_at: Timestamp | None = Field(description="when it was last compared with SQS")

    @classmethod
    def values(cls, queue: Queue) -> dict[str, Any]:
        """The fields' values."""
        depth = DepthOut(
            visible=queue.depth_visible,
            in_flight=queue.depth_in_flight,
            delayed=queue.depth_delayed,
            observed_at=queue.depth_observed_at,
            dead_letters=queue.dead_letters,
            dead_letters_observed_at=queue.dead_letters_observed_at,
        )
        fields = QueueFields.model_fields
        options = registry.masked_options(queue.handler, queue.handler_options)
        values = {name: getattr(queue, name) for name in fields if name != "depth"}
        return {**values, "handler_options": options, "depth": depth}


class HandlerOut(Out):
    """A registered handler."""

    name: str = Field(examples=["log"])
    summary: str = Field(examples=["Log each message, and be done."])
    options: dict[str, Any] | None = Field(description="JSON Schema of its options; null: it takes none")


class NamesIn(In):
    """Names of queues."""

    queues: list[str] = Field(
        min_length=1, max_length=1_000, description="names of queues", examples=[["orders", "invoices"]]
    )


class PausedOut(Out):
    """Whether a queue is paused."""

    name: str = Field(examples=["orders"])
    paused: bool = Field(examples=[True])
    changed: bool = Field(description="whether this request changed it", examples=[True])


class PurgedOut(Out):
    """A queue that was purged."""

    name: str = Field(examples=["orders"])
    purged: bool = Field(examples=[True])
