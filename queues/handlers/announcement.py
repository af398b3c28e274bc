"""What a worker announces of each of its handlers, so that others know it without having its code."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queues.handlers.registry import Handler
from queues.handlers.retrying import Breaker

#: Longest docstring, in characters, and longest schema, in bytes of JSON, that are announced: every page about handlers
#: reads those of all workers.
MAX_DESCRIPTION = 2_000
MAX_SCHEMA_BYTES = 32_768
#: Most rules of `retry=` that are announced, and the longest one, in characters.
MAX_RULES = 50
MAX_RULE = 200
#: Announced in place of a schema that is too long or that pydantic cannot make: any object may be valid.
ANY_OBJECT = '{"type": "object"}'


@dataclass(frozen=True)
class Announced:
    """A handler as a worker announces it."""

    name: str
    version: str
    #: `sync`, `async` or `batch`.
    kind: str = "sync"
    #: Time limit for one message in seconds; None: no limit.
    timeout: float | None = None
    #: Its docstring.
    description: str = ""
    #: JSON Schema of its options, as text: MongoDB has a meaning of its own for names like `$ref`. None: it takes none.
    options: str | None = None
    #: JSON Schema of the payloads that may be sent to it, as text; None: it declares none.
    payload: str | None = None
    #: Most messages of a batch, and for how many seconds one is gathered; None: it takes single messages.
    batch: int | None = None
    linger: float | None = None
    #: What comes of its exceptions, in words.
    retry: tuple[str, ...] = ()
    #: How many failed attempts within how many seconds trip its queue; None: it has no breaker.
    breaker_failures: int | None = None
    breaker_within: float | None = None

    @classmethod
    def of(cls, handler: Handler, app_version: str | None) -> Announced:
        """What this process would announce of a handler."""
        batch, retry, breaker = handler.batch, handler.retry, handler.breaker
        schema = handler.schema_text
        if schema is not None and len(schema.encode()) > MAX_SCHEMA_BYTES:
            schema = ANY_OBJECT
        return cls(
            handler.name,
            app_version or module_version(handler),
            handler.kind,
            handler.timeout,
            (inspect.getdoc(handler.function) or "")[:MAX_DESCRIPTION],
            schema,
            payload_text(handler),
            batch=batch.most if batch is not None else None,
            linger=batch.linger if batch is not None else None,
            retry=tuple(rule[:MAX_RULE] for rule in retry.rules[:MAX_RULES]) if retry is not None else (),
            breaker_failures=breaker.failures if breaker is not None else None,
            breaker_within=breaker.within if breaker is not None else None,
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Announced | None:
        """The handler in a worker's document; None if it is malformed."""
        given = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        kinds: dict[str, tuple[type, ...]] = {
            "timeout": (int, float, type(None)),
            "options": (str, type(None)),
            "payload": (str, type(None)),
            "batch": (int, type(None)),
            "linger": (int, float, type(None)),
            "retry": (list, tuple),
            "breaker_failures": (int, type(None)),
            "breaker_within": (int, float, type(None)),
        }
        if not {"name", "version"} <= set(given):
            return None
        if not all(isinstance(value, kinds.get(name, (str,))) for name, value in given.items()):
            return None
        return cls(**{**given, "retry": tuple(map(str, given.get("retry", ())))})

    def as_document(self) -> dict[str, Any]:
        """Its entry in a worker's document."""
        return {**vars(self), "retry": list(self.retry)}

    @property
    def breaker(self) -> Breaker | None:
        """Its breaker."""
        if self.breaker_failures is None or self.breaker_within is None:
            return None
        return Breaker(self.breaker_failures, self.breaker_within)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of its options; None: it takes none."""
        if self.options is None:
            return None
        try:
            found = json.loads(self.options)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else dict(json.loads(ANY_OBJECT))

    @property
    def payload_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the payloads that may be sent to it; None: nothing is known of them."""
        try:
            found = json.loads(self.payload) if self.payload is not None else None
        except ValueError:
            found = None
        return found if isinstance(found, dict) else None

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.description.partition("\n")[0]


def payload_text(handler: Handler) -> str | None:
    """The JSON Schema of a handler's payloads, unless it has none, is too long, or they come in an envelope only."""
    declared = handler.payload
    schema = declared.schema() if declared is not None and declared.sendable else None
    if schema is None or len((text := json.dumps(schema)).encode()) > MAX_SCHEMA_BYTES:
        return None
    return text


def module_version(handler: Handler) -> str:
    """A hash of the file of the handler's module: twelve hexadecimal digits, or `unknown` if there is no file."""
    file = getattr(sys.modules.get(handler.module), "__file__", None)
    if file is None:
        return "unknown"
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]
    except OSError:
        return "unknown"
