"""Fields for options of every type that pydantic has a schema for, and what is typed into them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from queues.handlers import option_fields
from queues.handlers.announcement import Announced
from queues.handlers.catalogue import Catalogue, Live
from queues.handlers.option_fields import Kind
from queues.handlers.option_texts import read, words, written
from queues.handlers.registry import Handler
from queuesite.foundation.errors import InvalidInput


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Account(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: str
    password: SecretStr
    ports: list[int] = []


class Node(BaseModel):
    children: list[Node] = []
    parent: Node | None = None


class Everything(BaseModel):
    """An option of each type."""

    model_config = ConfigDict(extra="forbid")
    text: str
    short: Annotated[str, Field(min_length=1, max_length=5)] = "a"
    hook: HttpUrl | None = None
    texts: list[str] = ["new", "web"]
    numbers: list[int] = []
    names: set[str] = set()
    formats: set[Literal["png", "jpg"]] = {"png"}
    order: list[Size] = []
    mode: Literal["fast", "careful", 3] = "fast"
    size: Size = Size.SMALL
    maybe: Size | None = None
    keep: bool = False
    limit: int | None = Field(5, ge=1, le=100, description="most of a message")
    share: float = Field(0.8, gt=0, lt=1)
    price: Decimal = Decimal(1)
    either: int | str = 1
    headers: dict[str, str] = {}
    counts: dict[str, int] = {"a": 1}
    keys: dict[str, SecretStr] = {}
    since: datetime | None = None
    day: date | None = None
    pause: timedelta = timedelta(seconds=90)
    token: SecretStr | None = None
    account: Account
    fallback: Account | None = None
    accounts: list[Account] = []
    pair: tuple[int, str] = (1, "a")
    anything: Any = None
    node: Node | None = None


def handled(message: object) -> None: ...


LOCAL = Handler("everything", handled, Everything)
FIELDS = {one.name: one for one in option_fields.fields(LOCAL.schema)}


def test_each_type_has_a_field() -> None:
    kinds = {name: str(one.kind) for name, one in FIELDS.items()}
    assert kinds == {
        "text": "text", "short": "text", "hook": "text", "texts": "list", "numbers": "list", "names": "list",
        "formats": "choices", "order": "list", "mode": "choice", "size": "choice", "maybe": "choice", "keep": "choice",
        "limit": "number", "share": "number", "price": "scalar", "either": "scalar", "headers": "mapping",
        "counts": "mapping", "keys": "mapping", "since": "text", "day": "text", "pause": "duration", "token": "text",
        "account": "group", "fallback": "group", "accounts": "json", "pair": "json", "anything": "json",
        "node": "group",
    }  # fmt: skip
    assert [".".join(one.path) for one in FIELDS["account"].inner] == [
        "account.user", "account.password", "account.ports",
    ]  # fmt: skip
    assert [one.kind for one in FIELDS["node"].inner] == [Kind.JSON, Kind.JSON]  # a model within itself
    assert {name for name, one in FIELDS.items() if one.required} == {"text", "account"}
    assert {name for name, one in FIELDS.items() if one.secret} == {"keys", "token"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("limit", "most of a message; 1 to 100"),
        ("share", "more than 0 and less than 1"),
        ("short", "1 to 5 characters"),
        ("order", "one per line; small or large"),
        ("since", "a time such as 2026-11-26T10:00:00Z"),
        ("accounts", "as JSON"),
        ("headers", "one per line, as name: value"),
    ],
)
def test_help_says_what_is_taken(name: str, words: str) -> None:
    assert FIELDS[name].help == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("texts", "new, web"), ("numbers", "none"), ("keep", "no"), ("limit", "5"), ("pause", "1 minute 30 seconds"),
        ("counts", "a: 1"), ("hook", "none"), ("size", "small"), ("text", ""), ("token", ""), ("account", ""),
    ],
)  # fmt: skip
def test_default_is_said_in_words(name: str, words: str) -> None:
    assert FIELDS[name].default_words == words


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("texts", "a, b\n\n c ", ["a, b", "c"]),
        ("texts", '["a\\nb"]', ["a\nb"]),
        ("numbers", "1\n2", [1, 2]),
        ("order", "large\nsmall", ["large", "small"]),
        ("limit", "7", 7),
        ("limit", "many", "many"),
        ("limit", "NaN", "NaN"),
        ("limit", "1e999", "1e999"),
        ("limit", "env:LIMIT", "env:LIMIT"),
        ("mode", "3", 3),
        ("keep", "true", True),
        ("either", "5", 5),
        ("either", '"5"', "5"),
        ("either", "five", "five"),
        ("headers", "A: b: c\nD:e", {"A": "b: c", "D": "e"}),
        ("headers", '{"a: b": "c"}', {"a: b": "c"}),
        ("counts", "a: 1\nb: x", {"a": 1, "b": "x"}),
        ("pause", "90", "PT1M30S"),
        ("pause", "1 h 30 min", "PT1H30M"),
        ("pause", "PT5S", "PT5S"),
        ("pause", "soon", "soon"),
        ("accounts", '[{"user": "a"}]', [{"user": "a"}]),
    ],
)
def test_what_is_typed_is_read(name: str, typed: str, value: object) -> None:
    assert read(FIELDS[name], typed) == value
    if value != typed:
        assert read(FIELDS[name], written(FIELDS[name], value)) == value


@pytest.mark.parametrize(
    ("name", "typed", "problem"),
    [
        ("headers", "a: b\nc", "line 2: expected name: value"),
        ("headers", "a: b\na: c", "line 2: a is given twice"),
        ("keys", "a:", "line 1: a has no value"),
        ("accounts", "[", "is not JSON"),
        ("anything", "NaN", "NaN is not a number"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(name: str, typed: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read(FIELDS[name], typed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("texts", []), ("texts", [" a"]), ("texts", ["a", ""]), ("texts", ['["a"]']), ("headers", {"a:b": "c"}),
        ("pause", "P1DT2H"), ("pause", "PT0.5S"), ("either", "true"), ("pair", [1, "a"]), ("numbers", "env:N"),
    ],
)  # fmt: skip
def test_every_value_is_shown_as_something_that_gives_it_back(name: str, value: object) -> None:
    shown = written(FIELDS[name], value)
    assert value == ([] if shown == "" else read(FIELDS[name], shown))


def test_nothing_can_be_given_in_place_of_a_default() -> None:
    given = {name: one.nothing for name, one in FIELDS.items() if one.nothing is not ...}
    assert given == {"short": "", "texts": [], "formats": [], "limit": None, "counts": {}}
    assert [words(FIELDS[name], value) for name, value in given.items()] == ["empty", "none", "none", "none", "none"]


def test_errors_of_values_within_others_have_their_paths() -> None:
    given = {
        "numbers": ["x", 2],
        "account": {"password": "p", "ports": [1, "y"]},
        "fallback": {"user": 3, "password": "p"},
        "accounts": [{"user": "a"}],
        "since": "soon",
        "hook": "nowhere",
        "pause": "soon",
        "more": 1,
    }
    paths = {
        "text", "numbers.0", "account.user", "account.ports.1", "fallback.user", "accounts.0.password", "since", "hook",
        "pause", "more",
    }  # fmt: skip
    remote = Catalogue({}, Live({"everything": [Announced.of(LOCAL, "1")]}))["everything"]
    for check in (LOCAL.check_options, remote.check_options):
        with pytest.raises(InvalidInput) as caught:
            check(given)
        assert {name for name, _ in caught.value.fields} == {f"handler_options.{path}" for path in paths}
        assert "soon" not in str(caught.value)
