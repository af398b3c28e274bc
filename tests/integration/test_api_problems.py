"""Errors of the API: one shape, no HTML, no stack traces; and what bounds a request."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from queues import search, services
from queuesite import tokens
from queuesite.api import middleware, problems
from queuesite.foundation import errors
from queuesite.foundation.public import public_text
from queuesite.models import Token
from tests.conftest import Configure
from tests.support.api import ROOT, Api, everything

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]


@pytest.fixture
def api() -> Api:
    return everything()


def test_every_error_of_ours_has_a_kind() -> None:
    def below(base: type[Exception]) -> set[type[Exception]]:
        return {base, *(found for child in base.__subclasses__() for found in below(child))}

    ours = below(errors.QueuesiteError)
    without = {c for c in ours if problems.kind_of(c.__new__(c)) is problems.INTERNAL}

    # Those are faults in the configuration of a process, which no caller can mend, and what only code that sends gets.
    configuration = {"QueuesiteError", "ConfigError", "HandlerError", "MissingPackage"}
    assert {c.__name__ for c in without} <= {*configuration, "SendFailed"}


def test_statuses_are_those_of_the_command_line() -> None:
    # Exit code 2 (the caller can mend it) is 4xx, exit code 1 (a server is at fault) is 5xx; a queue that is missing in
    # SQS is at no server's fault for a program that can start a sync.
    for error, kind in problems.KINDS.items():
        if issubclass(error, errors.QueuesiteError) and error is not errors.QueueMissing:
            assert (kind.status >= 500) == (error.exit_code == 1), error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v1/nope", 404),
        ("GET", "/api/v2/queues", 404),
        ("GET", "/api/v1/queues/", 404),
        ("GET", "/api/v1/queues/a%2Fb", 404),
        ("PUT", "/api/v1/queues", 405),
        ("DELETE", "/api/v1/health/live", 405),
        ("TRACE", "/api/v1/queues", 405),
        ("POST", "/api/v1/metrics", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_what_django_answers_is_a_problem_too(api: Api, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)

    answer.problem(status)
    if status == 405:
        assert answer.headers["Allow"]


def test_wrong_host_has_no_html(api: Api) -> None:
    api.request("GET", "/queues", Host="evil.example").problem(400)


@pytest.mark.parametrize(
    "data",
    [b"{", b"nonsense", b"\xff\xfe", b'{"name": NaN}', b'{"name": 1e999}', b'{"name": -Infinity}', b"[" * 100_000],
)
def test_body_that_is_no_json(api: Api, data: bytes) -> None:
    problem = api.request("POST", "/queues", data=data).problem(400)

    assert problem["type"] == "urn:queuesite:problem:malformed"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_body_of_another_type(api: Api, kind: str) -> None:
    api.client = Client()
    answer = api.request("POST", "/queues", data=b"name=orders", **{"Content-Type": kind})

    assert "application/json" in answer.problem(415)["detail"]


def test_fault_of_ours_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_queues", lambda **_: 1 / 0)

    answer = api.get("/queues")

    assert answer.problem(500)["detail"] == "Queuesite failed and has logged the error."
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text


def test_database_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(text: str) -> Token:
        raise OperationalError("no such file")

    monkeypatch.setattr(tokens, "find", away)

    assert api.get("/queues").problem(503)["type"] == "urn:queuesite:problem:unavailable"


def test_mongodb_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymongo.errors import AutoReconnect

    def away(*_: object) -> None:
        raise AutoReconnect("connection closed")

    monkeypatch.setattr("queues.repository.by_name", away)

    assert "does not answer" in api.get("/queues/orders").problem(503)["detail"]


class TestBounds:
    def test_body_over_the_limit(self, api: Api, configure: Configure) -> None:
        configure(api_max_body_mb=2)
        body = b'{"messages": [{"body": "' + b"x" * (2 << 20) + b'"}]}'

        problem = api.request("POST", "/queues/orders/messages", data=body).problem(413)

        assert "2,097,152" in problem["detail"]

    def test_body_of_unknown_length(self, api: Api) -> None:
        # As with Transfer-Encoding: chunked: what is read is bounded all the same.
        answer = api.client.generic(
            "POST",
            f"{ROOT}/queues",
            b"x" * (5 << 20),
            content_type="application/json",
            headers=api.headers,
            CONTENT_LENGTH=str(3),
        )

        assert answer.status_code == 400

    def test_too_many_values(self, api: Api) -> None:
        body = b'{"messages": [' + b",".join([b"{}"] * 100_001) + b"]}"

        assert "100,000" in api.request("POST", "/queues/orders/messages", data=body).problem(413)["detail"]

    def test_commas_in_texts_are_no_values(self, api: Api, queues: object) -> None:
        services.create("orders")
        body = {"messages": [{"body": '{"a": [1,2,3,4]}\\"' + "," * 400_000}]}

        assert api.post("/queues/orders/messages", body).status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b'{"messages": [{"body": "'
            + "\U0001f600".encode() * 260_000
            + b'"}, {"body": "'
            + b"x" * 1_000_000
            + b'"}]}',
            b'{"messages": [{"body": ' + b"[" + b",".join([b'{"a":1}'] * 49_000) + b"]}]}",
            b'{"messages": [{"body": "' + b"\\u00e9" * 600_000 + b'"}]}',
        ],
    )
    def test_memory_of_a_large_request(self, api: Api, body: bytes) -> None:
        api.get("/queues")  # what is imported and cached at the first request is not its own
        tracemalloc.start()
        try:
            api.request("POST", "/queues/none/messages", data=body)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 100 << 20

    def test_one_large_request_at_a_time(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(middleware, "LARGE_WAIT", 0.05)
        body = json.dumps({"messages": [{"body": "x" * middleware.LARGE}]}).encode()
        with middleware._large_bodies:
            api.request("POST", "/queues/none/messages", data=body).problem(503)
            assert api.get("/queues").status == 200

        api.request("POST", "/queues/none/messages", data=body).problem(404)


class TestThrottle:
    def test_requests_of_one_token_are_counted(self, api: Api, configure: Configure, frozen_minute: None) -> None:
        configure(api_requests_per_minute=3)
        other = everything("other")

        assert [api.get("/leader").status for _ in range(4)] == [200, 200, 200, 429]

        refused = api.get("/queues")
        assert refused.problem(429)["type"] == "urn:queuesite:problem:throttled"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        api.get("/openapi.json").problem(429)
        assert other.get("/leader").status == 200
        assert api.get("/health/live").status == 200

    def test_none(self, api: Api, configure: Configure) -> None:
        configure(api_requests_per_minute=0)

        assert {api.get("/leader").status for _ in range(5)} == {200}

    @pytest.fixture
    def frozen_minute(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        from django.core.cache import cache

        cache.clear()
        monkeypatch.setattr("queuesite.api.auth.time.time", lambda: 1_000_000_020.0)
        yield
        cache.clear()


def test_docs_page_has_local_assets_alone(api: Api) -> None:
    page = api.get("/docs").text

    assert "ninja/swagger-ui-bundle.js" in page
    assert 'data-api-csrf="true"' in page  # so that it works with the admin's session
    for source in ("http://", "https://", "//cdn"):
        assert f'src="{source}' not in page
        assert f'href="{source}' not in page
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-init.js"):
        from django.contrib.staticfiles import finders

        assert finders.find(f"ninja/{asset}")


class TestSchema:
    @pytest.fixture
    def schema(self, api: Api) -> dict[str, Any]:
        found: dict[str, Any] = api.get("/openapi.json").ok()
        return found

    def test_every_operation_reads_as_a_manual(self, schema: dict[str, Any]) -> None:
        for path, item in schema["paths"].items():
            for method, operation in item.items():
                assert operation["description"], (method, path)
                for parameter in operation["parameters"]:
                    assert parameter["description"], (method, path, parameter)

    def test_every_member_of_an_answer_has_an_example_or_a_description(self, schema: dict[str, Any]) -> None:
        for name, component in schema["components"]["schemas"].items():
            if name.endswith("Out"):
                assert component["description"], name

    def test_problems_are_documented(self, schema: dict[str, Any]) -> None:
        for path, item in schema["paths"].items():
            for operation in item.values():
                problems_of = {
                    status
                    for status, answer in operation["responses"].items()
                    if "application/problem+json" in str(answer)
                }
                if path != "/api/v1/health/live":
                    assert {"401", "403", "429", "503"} <= problems_of, path
                if "{" in path:
                    assert "404" in problems_of


class TestServersAtFault:
    """What a server says is for the log: it names hosts, paths and users."""

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (errors.MongoUnavailable("mongo-1.internal:27017 user=ada"), "MongoDB does not answer"),
            (errors.DatabaseUnavailable("unable to open /srv/internal/queuesite.sqlite3"), "Django's database"),
            (errors.SqsDenied("arn:aws:iam::123456789012:user/internal"), "SQS refused the credentials"),
            (errors.QueueMissing("no queue http://internal/123456789012/orders"), "not in SQS"),
            (errors.SqsUnavailable("http://internal:4566"), "SQS does not answer"),
        ],
    )
    def test_answer_has_none_of_it(self, error: Exception, words: str, rf: Any) -> None:
        answer = problems.answer(rf.get("/api/v1/queues"), error).content.decode()
        assert words in answer
        assert "internal" not in answer
        assert "123456789012" not in answer

    def test_error_of_a_caller_says_what_is_wrong(self) -> None:
        assert public_text(errors.InvalidInput("priority 12 is out of range")) == "priority 12 is out of range"


class TestEncoding:
    def test_json_is_in_utf_8(self) -> None:
        api = everything("utf")
        body = json.dumps({"name": "orders"})
        for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1"):
            data = body.replace("orders", "örders").encode(encoding)
            api.request("POST", "/queues", data=data).problem(400)
        type_ = "application/json; charset=utf-16"
        api.request("POST", "/queues", data=body.encode("utf-16"), Content_Type=type_).problem(415)

    def test_values_are_counted_whatever_the_encoding(self) -> None:
        """In UTF-16 a string of U+2222 has the bytes of quotes, and what stood between two of them was not counted."""
        body = ('["\u2222", ' + "[]," * 200_000 + '"\u2222"]').encode("utf-16-le")
        assert everything("utf").request("POST", "/queues", data=body).status in {400, 413}
