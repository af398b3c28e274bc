"""Who can process what: the rule for one worker, for all together, and what a worker announces."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from jobs.models import Worker
from jobs.placement import announced, announcement, can_serve, fleet_of, offer_of
from queues.fleet import Fleet, Offer
from queues.handlers import Message, registry
from queues.handlers.announcement import ANY_OBJECT, MAX_SCHEMA_BYTES, Announced, module_version
from queues.handlers.batching import Batch
from queues.handlers.registry import Handler
from queues.models import Queue


def worker(pool: str | None = "default", *handlers: str, draining: bool = False) -> Worker:
    entries: list[dict[str, Any]] = [Announced(name, "1").as_document() for name in handlers]
    return Worker(worker_id="w", pool=pool, handlers=entries, draining=draining)


def queue(handler: str = "orders", pool: str | None = None) -> Queue:
    return Queue(name="q", handler=handler, pool=pool)


class TestOneWorker:
    def test_needs_the_handler(self) -> None:
        assert can_serve(worker("default", "log", "orders"), queue())
        assert not can_serve(worker("default", "log"), queue())
        assert not can_serve(worker("default"), queue())

    def test_needs_the_pool_that_a_queue_names(self) -> None:
        assert can_serve(worker("gpu", "orders"), queue(pool="gpu"))
        assert can_serve(worker("gpu", "orders"), queue(pool=None))
        assert not can_serve(worker("default", "orders"), queue(pool="gpu"))

    def test_of_an_earlier_release_may_have_any_handler_and_is_in_the_default_pool(self) -> None:
        assert can_serve(worker(None), queue("whatever"))
        assert can_serve(worker(None), queue("whatever", "default"))
        assert not can_serve(worker(None), queue("whatever", "gpu"))

    @pytest.mark.parametrize(
        "entry",
        [{}, {"name": "orders"}, {"name": 3, "version": "1"}, {"name": "orders", "version": "1", "timeout": "soon"}],
    )
    def test_malformed_entries_count_as_absent(self, entry: dict[str, Any]) -> None:
        found = worker("default", "log")
        found.handlers.append(entry)
        assert [one.name for one in announced(found)] == ["log"]
        assert not can_serve(found, queue())


class TestFleet:
    def test_says_what_is_missing(self) -> None:
        fleet = fleet_of([worker("default", "log"), worker("gpu", "log", "resize")])
        assert fleet.reason("log", None) is None
        assert fleet.reason("resize", "gpu") is None
        assert fleet.reason("orders", None) == "no worker has handler orders"
        assert fleet.reason("log", "night") == "no worker in pool night"
        assert fleet.reason("resize", "default") == "no worker in pool default has handler resize"

    def test_workers_that_drain_count_as_gone(self) -> None:
        fleet = fleet_of([worker("default", "log"), worker("gpu", "resize", draining=True)])
        assert fleet.reason("resize", None) == "no worker has handler resize"

    def test_without_workers_no_queue_is_out_of_place(self) -> None:
        assert Fleet().reason("orders", "gpu") is None
        assert fleet_of([worker("default", draining=True)]).reason("orders", None) is None

    def test_agrees_with_the_rule_for_one_worker(self) -> None:
        workers = [worker(None), worker("gpu", "a"), worker("gpu", "b"), worker("default", "a", "c"), worker("night")]
        for count in range(1, len(workers) + 1):
            for some in itertools.combinations(workers, count):
                fleet = fleet_of(some)
                for handler, pool in itertools.product("abcd", (None, "default", "gpu", "night", "x")):
                    served = any(can_serve(one, queue(handler, pool)) for one in some)
                    assert (fleet.reason(handler, pool) is None) == served, (some, handler, pool)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    secrets_go_to: ClassVar[tuple[str, ...]] = ("url",)

    url: str
    token: SecretStr | None = None
    large: int = 3


def resize(message: Message) -> None:
    """Make a copy.

    And keep it.
    """


class TestAnnouncement:
    def test_has_all_that_others_need(self) -> None:
        found = Announced.of(Handler("resize", resize, Options, 9.5), "2.1")
        assert (found.name, found.version, found.kind, found.timeout) == ("resize", "2.1", "sync", 9.5)
        assert found.description == "Make a copy.\n\nAnd keep it."
        assert found.summary == "Make a copy."
        assert found.schema is not None
        assert set(found.schema["properties"]) == {"url", "token", "large"}
        assert found.schema["x-secrets-go-to"] == ["url"]
        assert Announced.from_document(found.as_document()) == found

    def test_version_is_a_hash_of_the_module_unless_the_application_has_one(self) -> None:
        own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
        handler = Handler("resize", resize)
        assert module_version(handler) == Announced.of(handler, None).version == own
        assert Announced.of(handler, "2.1").version == "2.1"

    def test_async_handlers_say_so(self) -> None:
        async def later(message: Message) -> None: ...

        assert Announced.of(Handler("later", later), None).kind == "async"

    def test_handlers_of_batches_say_so(self) -> None:
        def many(messages: list[Message]) -> None: ...

        assert Announced.of(Handler("many", many, batch=Batch(10, 1.0)), None).kind == "batch"

    def test_a_schema_that_is_too_long_or_cannot_be_made_accepts_any_object(self) -> None:
        class Endless(BaseModel):
            model_config = ConfigDict(json_schema_extra={"description": "x" * MAX_SCHEMA_BYTES})

        class Opaque(BaseModel):
            model_config = ConfigDict(arbitrary_types_allowed=True)
            what: Callable[[], None] = print

        for options in (Endless, Opaque):
            found = Announced.of(Handler("resize", resize, options), None)
            assert found.options is not None
            assert found.schema == json.loads(ANY_OBJECT), options

    @pytest.mark.parametrize("text", ["[]", "no JSON", "3"])
    def test_a_schema_that_is_none_accepts_any_object(self, text: str) -> None:
        assert Announced("resize", "1", options=text).schema == {"type": "object"}

    def test_of_a_worker(self) -> None:
        found = announcement("gpu", "2.1")
        assert {one.name for one in found.handlers} == set(registry.all_handlers())
        assert {one.version for one in found.handlers} == {found.version} == {"2.1"}
        document = found.as_document()
        assert (
            offer_of(Worker(**document)) == found.offer == Offer("gpu", dict.fromkeys(registry.all_handlers(), "2.1"))
        )

    def test_without_a_version_of_the_application_the_code_s_own_counts(self) -> None:
        found = announcement("default", None)
        assert found.version not in ("", "unknown")
        assert found == announcement("default", None)
        assert len({one.version for one in found.handlers}) > 1
