"""Secrets in handlers' options: masked on reading, kept on writing, or named in the worker's environment."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, SecretStr

from queues.handlers.http import HttpOptions
from queues.handlers.registry import Handler
from queues.handlers.secrets import MASK
from queuesite.errors import InvalidInput

SECRET = "s3cr3t"


class Account(BaseModel):
    user: str
    password: SecretStr


class Options(BaseModel):
    url: str = ""
    token: SecretStr | None = None
    renamed: SecretStr | None = Field(None, alias="apiKey")
    keys: list[SecretStr] = []
    headers: dict[str, SecretStr] = {}
    accounts: dict[str, Account] = {}
    account: Account | None = None
    count: int = 1

    secrets_go_to: ClassVar[tuple[str, ...]] = ("url",)


def nothing(message: object) -> None: ...


HANDLER = Handler("hook", nothing, Options)
GIVEN: dict[str, Any] = {
    "url": "https://a",
    "token": SECRET,
    "apiKey": SECRET,
    "keys": [SECRET, "env:KEY"],
    "headers": {"Authorization": SECRET},
    "accounts": {"a": {"user": "ada", "password": SECRET}},
    "account": {"user": "ada", "password": SECRET},
    "count": 3,
}


def test_whatever_is_secret_by_its_type_is_masked() -> None:
    shown = HANDLER.masked_options(GIVEN)

    assert SECRET not in str(shown)
    assert shown == {
        "url": "https://a",
        "token": MASK,
        "apiKey": MASK,
        "keys": [MASK, "env:KEY"],
        "headers": {"Authorization": MASK},
        "accounts": {"a": {"user": "ada", "password": MASK}},
        "account": {"user": "ada", "password": MASK},
        "count": 3,
    }


def test_what_no_model_describes_is_masked() -> None:
    assert HANDLER.masked_options({"unknown": {"a": [SECRET]}}) == {"unknown": {"a": [MASK]}}
    assert Handler("plain", nothing).masked_options({"a": SECRET, "b": 3}) == {"a": MASK, "b": MASK}


def test_mask_written_back_keeps_what_is_stored() -> None:
    shown = HANDLER.masked_options(GIVEN)
    assert HANDLER.kept_options(shown, GIVEN) == GIVEN
    assert HANDLER.kept_options({**shown, "token": "new", "count": 4}, GIVEN) == {**GIVEN, "token": "new", "count": 4}


@pytest.mark.parametrize("given", [{"token": MASK}, {"headers": {"X": MASK}}, {"keys": [MASK]}, {"account": MASK}])
def test_mask_that_stands_for_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="give the value itself"):
        HANDLER.kept_options(given, {"url": "https://a"})


def test_secrets_do_not_go_to_another_address() -> None:
    shown = {**HANDLER.masked_options(GIVEN), "url": "https://evil"}
    with pytest.raises(InvalidInput, match="url has changed"):
        HANDLER.kept_options(shown, GIVEN)


def test_asterisks_that_are_no_secret_are_a_value() -> None:
    assert HANDLER.kept_options({"url": MASK}, {}) == {"url": MASK}


def test_environment_of_the_consumer_has_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"token": "env:HOOK_TOKEN", "headers": {"X": "env:HOOK_TOKEN"}, "count": "env:HOOK_COUNT"}
    monkeypatch.delenv("HOOK_TOKEN", raising=False)
    monkeypatch.setenv("HOOK_COUNT", "7")
    HANDLER.check_options(given)
    with pytest.raises(InvalidInput, match=r"token: env:HOOK_TOKEN names a variable that is not set"):
        HANDLER.parse_options(given)

    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    options = HANDLER.parse_options(given)

    assert isinstance(options, Options)
    assert options.token is not None
    assert options.token.get_secret_value() == options.headers["X"].get_secret_value() == SECRET
    assert options.count == 7


def test_what_the_environment_has_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_URL", f"ftp://{SECRET}")
    http = Handler("http", nothing, HttpOptions)
    http.check_options({"url": "env:HOOK_URL"})
    with pytest.raises(InvalidInput, match="the value of env:HOOK_URL is refused") as caught:
        http.parse_options({"url": "env:HOOK_URL"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "secret_key", "MONGODB_URI", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_settings_of_the_system_are_for_no_handler(name: str) -> None:
    for refuse in (HANDLER.check_options, HANDLER.parse_options):
        with pytest.raises(InvalidInput, match="names one of Queuesite's own settings"):
            refuse({"url": f"env:{name}"})


def test_other_problems_are_still_told() -> None:
    with pytest.raises(InvalidInput, match="count: "):
        HANDLER.check_options({"token": "env:HOOK_TOKEN", "count": "many"})


def test_headers_of_http_are_secret_and_sent() -> None:
    http = Handler("http", nothing, HttpOptions)
    given = {"url": "https://example.com", "headers": {"Authorization": SECRET}}
    assert http.masked_options(given)["headers"] == {"Authorization": MASK}
    options = http.parse_options(given)
    assert isinstance(options, HttpOptions)
    assert SECRET not in repr(options)
    with pytest.raises(InvalidInput, match="headers may not contain"):
        http.check_options({"url": "https://example.com", "headers": {"X": "a\r\nb"}})
