"""The handlers that a queue may have, by what workers announce and what is importable here; options by their schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from queues.handlers import option_fields
from queues.handlers.announcement import Announced
from queues.handlers.catalogue import Catalogue, Live
from queues.handlers.registry import Handler
from queues.handlers.secrets import MASK
from queuesite.foundation.errors import InvalidInput


class Size(BaseModel):
    width: int = Field(ge=1, description="in pixels")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    secrets_go_to: ClassVar[tuple[str, ...]] = ("url",)

    url: str
    token: SecretStr | None = None
    size: Size | None = None
    mode: Literal["fast", "good"] = "fast"
    level: Literal[1, 2] | None = None
    share: float = 0.5
    exact: bool = False
    tags: list[str] = []

    @model_validator(mode="after")
    def _sensible(self) -> Options:
        if self.share == 0.25:
            raise ValueError("a quarter is not allowed")
        return self


def resize(message: object) -> None:
    """Make a copy."""


HANDLER = Handler("resize", resize, Options)
REMOTE = Announced.of(HANDLER, "2")
GOOD: dict[str, Any] = {"url": "u", "token": "t", "size": {"width": 3}, "level": 2}


def remote(*announced: Announced) -> Catalogue:
    return Catalogue({}, Live({"resize": announced or (REMOTE,)}, lambda: frozenset({"default"}), 1))


class TestOptionsBySchema:
    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"url": 3}, "url: expected type string"),
            ({"size": {"width": 0}}, "size.width: expected minimum 1"),
            ({"size": 3}, "size: expected Size or null"),
            ({"size": {}}, "size.width: is missing"),
            ({"mode": "best"}, 'mode: expected enum ["fast", "good"]'),
            ({"share": "much"}, "share: expected type number"),
            ({"tags": ["a", 7]}, "tags.1: expected type string"),
            ({"colour": "red", "x": 1}, "colour: unknown; expected url, token, size"),
            ({"token": 9}, "token: expected string or null"),
        ],
    )
    def test_wrong_ones_are_named_without_their_values(self, wrong: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            remote()["resize"].check_options({**GOOD, **wrong})
        assert words in str(caught.value)
        assert str(caught.value).startswith("options of handler 'resize': ")
        assert caught.value.field == "handler_options"
        assert "much" not in str(caught.value)

    def test_missing(self) -> None:
        with pytest.raises(InvalidInput, match="options of handler 'resize': url: is missing"):
            remote()["resize"].check_options({})

    def test_right_ones(self) -> None:
        remote()["resize"].check_options(GOOD)

    def test_values_of_the_environment_are_left_to_the_worker(self) -> None:
        named = {"url": "env:URL", "size": {"width": "env:WIDTH"}, "level": "env:L", "share": "env:S", "tags": "env:T"}
        remote()["resize"].check_options(named)
        with pytest.raises(InvalidInput, match="mode"):
            remote()["resize"].check_options({**named, "mode": 3})
        with pytest.raises(InvalidInput, match="names one of Queuesite's own settings"):
            remote()["resize"].check_options({"url": "env:SECRET_KEY"})

    def test_a_handler_without_options_takes_none(self) -> None:
        plain = replace(REMOTE, options=None)
        remote(plain)["resize"].check_options({})
        with pytest.raises(InvalidInput, match="takes no options, but got a, b"):
            remote(plain)["resize"].check_options({"b": 1, "a": 2})

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?P<"}}},
            {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}},
            {"properties": {"a": {"$ref": "#/$defs/gone"}}},
            {"type": "no such type"},
        ],
    )
    def test_a_schema_that_is_of_no_use_refuses_nothing(self, schema: dict[str, Any]) -> None:
        remote(replace(REMOTE, options=json.dumps(schema)))["resize"].check_options({"a": "b"})

    def test_secrets_are_masked_and_kept_as_by_the_model(self) -> None:
        known = remote()["resize"]
        shown = known.masked_options(GOOD)
        assert shown == HANDLER.masked_options(GOOD) == {**GOOD, "token": MASK}
        assert known.kept_options(shown, GOOD) == GOOD
        with pytest.raises(InvalidInput, match="url has changed"):
            known.kept_options({**shown, "url": "elsewhere"}, GOOD)

    def test_form(self) -> None:
        found = {one.name: one for one in option_fields.fields(REMOTE.schema)}
        assert list(found) == list(Options.model_fields)
        assert (found["url"].required, found["share"].required, found["share"].default) == (True, False, 0.5)


class TestCatalogue:
    def test_has_what_is_here_and_what_workers_have(self) -> None:
        found = Catalogue({"local": Handler("local", resize)}, Live({"resize": (REMOTE,)}))
        assert list(found) == ["local", "resize"]
        assert (found["resize"].summary, found["resize"].kind) == ("Make a copy.", "sync")
        assert found["local"].description == "Make a copy."
        assert "other" not in found
        assert not found.named("other").is_known

    def test_the_newest_version_counts(self) -> None:
        older = replace(REMOTE, version="1", options=None, description="Old.")
        found = remote(REMOTE, older)["resize"]
        assert found.summary == "Make a copy."
        found.check_options(GOOD)

    def test_a_handler_here_is_asked_if_workers_have_the_same(self) -> None:
        live = Live({"resize": (REMOTE,)})
        same = Catalogue({"resize": HANDLER}, live)["resize"]
        with pytest.raises(InvalidInput, match="a quarter is not allowed"):
            same.check_options({"url": "u", "share": 0.25})
        stale = Catalogue({"resize": Handler("resize", resize)}, live)["resize"]
        stale.check_options({"url": "u", "share": 0.25})
        with pytest.raises(InvalidInput, match="url: is missing"):
            stale.check_options({})

    def test_of_one_that_nobody_knows_everything_is_secret_and_nothing_wrong(self) -> None:
        found = remote().named("other")
        found.check_options({"a": 1})
        assert found.masked_options({"a": "x", "b": "env:B"}) == {"a": MASK, "b": "env:B"}
        assert found.kept_options({"a": MASK}, {"a": "x"}) == {"a": "x"}
        with pytest.raises(InvalidInput, match="own settings"):
            found.check_options({"a": "env:MONGODB_URI"})

    def test_warnings(self) -> None:
        found = remote()
        assert found.warnings("resize", GOOD) == []
        (unknown,) = found.warnings("other", {})
        assert "no live worker announces handler 'other'" in unknown
        assert unknown.endswith("known handlers: resize")
        assert found.warnings("resize", {}) == ["options of handler 'resize': url: is missing; the workers refuse them"]

    def test_pools(self) -> None:
        remote().check_pool("default")
        remote().check_pool(None)
        Catalogue({}, Live()).check_pool("gpu")
        with pytest.raises(InvalidInput, match=r"pool 'gpu' is unknown: .*known pools: default; .*--pool gpu` first"):
            remote().check_pool("gpu")
