"""Sends messages within a span, and prints the spans that it exported to memory, as JSON: name, ids, parent, kind.

`python -m tests.support.traced_sender QUEUE`
"""

from __future__ import annotations

import json
import sys

import django


def main(queue: str) -> None:
    """Send one message, then two."""
    django.setup()
    from opentelemetry import trace

    import queues
    from tests.support.spans import recorded

    with recorded() as spans:
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            queues.send(queue, "one", attributes={"tenant": "7"})
            queues.send_many(queue, ["two", "three"])
        json.dump(
            [
                {
                    "name": span.name,
                    "kind": span.kind.name,
                    "trace": span.context.trace_id,
                    "span": span.context.span_id,
                    "parent": span.parent and span.parent.span_id,
                    "attributes": dict(span.attributes or {}),
                }
                for span in spans.all
            ],
            sys.stdout,
        )


if __name__ == "__main__":
    main(sys.argv[1])
