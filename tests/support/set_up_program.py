"""Runs a failing attempt with an example from docs/handlers.md (stdin) as the module `shop_set_up`, in a child process
of multiprocessing's as a consumer is, and prints what that has sent at its end.

`python -m tests.support.set_up_program opentelemetry|sentry NAME`: `NAME` is what the example takes from its reader's
project.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import types
from multiprocessing.connection import Connection
from typing import Any

import django


def child(example: str, name: str, own: str, out: Connection) -> None:
    """What a consumer does at its end."""
    from queues.handlers import Message, middleware
    from queues.handlers.registry import Handler

    module: Any = types.ModuleType("shop_set_up")
    setattr(module, own, globals()[f"{name}_{own}"](out))
    exec(compile(example, "docs/handlers.md", "exec"), vars(module))
    sys.modules["shop_set_up"] = module

    def fail(message: Message) -> None:
        raise LookupError

    try:
        Handler("h", fail).attempt(Message(id="1", body="", queue="orders"))
    except LookupError:
        middleware.close()


def opentelemetry_exporter(out: Connection) -> Any:
    """An exporter that tells the parent the names of spans."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Telling(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            for span in spans:
                out.send(span.name)
            return SpanExportResult.SUCCESS

    return Telling


def sentry_dsn(out: Connection) -> Any:
    """An address; what goes there is told to the parent."""
    from sentry_sdk import transport

    class Telling(transport.HttpTransport):
        def _send_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                for one in (item.payload.json or {}).get("exception", {}).get("values", ()):
                    out.send(one["type"])

    vars(transport)["HttpTransport"] = Telling
    return lambda: "https://key@sentry.example/1"


def main(name: str, own: str) -> None:
    """Print what the child has sent, as JSON."""
    django.setup()
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(sys.stdin.read(), name, own, writer))
    process.start()
    writer.close()
    told = []
    while True:
        try:
            told.append(reader.recv())
        except EOFError:
            break
    process.join()
    json.dump(told, sys.stdout)
    sys.exit(process.exitcode or 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
