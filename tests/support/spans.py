"""Spans that are kept in memory. A process has one provider of them, since OpenTelemetry takes no second."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@functools.cache
def _exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


class Spans:
    """Those that have ended."""

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return _exporter().get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.all if span.name == name]
        return found


@contextmanager
def recorded() -> Iterator[Spans]:
    """Records spans."""
    _exporter().clear()
    yield Spans()
    _exporter().clear()
