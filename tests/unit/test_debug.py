"""DEBUG=1: what is on the error pages, and who gets one."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from queuesite.debug import loopback_only
from tests.conftest import Configure

#: In two pieces, since lines of this file are on the page.
SECRET = "open-" + "sesame"
ADDRESS = f"mongodb://me:{SECRET}@host/"


@pytest.fixture
def page(configure: Configure, settings: Settings) -> str:
    """The page of an error among whose variables, settings and headers are secrets."""
    settings.DEBUG = True
    settings.SOMETHING = {"list": [ADDRESS], "tuple": (ADDRESS,)}
    config = configure(aws_access_key_id=SECRET, aws_secret_access_key=SECRET, mongodb_uri=ADDRESS)
    request = RequestFactory().get("/", headers={"x-from": ADDRESS, "authorization": SECRET})
    try:
        _fail(config, ADDRESS, {"inner": [ADDRESS]}, SECRET)
    except ValueError:
        reporter = ExceptionReporter(request, *sys.exc_info())
        return reporter.get_traceback_html() + reporter.get_traceback_text()
    raise AssertionError("unreachable")


def _fail(config: object, address: str, nested: dict[str, list[str]], api_token: str) -> None:
    raise ValueError("wrong")


def test_no_secret_is_on_the_page(page: str) -> None:
    assert SECRET not in page
    assert "mongodb://me:********@host/" in page
    assert "nested" in page


def answer(**meta: str) -> HttpResponse:
    def site(request: HttpRequest) -> HttpResponse:
        return HttpResponse("the site")

    request = RequestFactory().get("/")
    request.META.update({"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost:8000", **meta})
    return loopback_only(site)(request)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"REMOTE_ADDR": "::1"},
        {"REMOTE_ADDR": ""},  # a Unix socket
        *({"HTTP_HOST": host} for host in ("localhost", "127.0.0.1:8000", "[::1]", "[::1]:8000", "x.localhost")),
    ],
)
def test_this_machine_is_served(meta: dict[str, str]) -> None:
    assert answer(**meta).content == b"the site"


@pytest.mark.parametrize(
    "meta",
    [
        {"REMOTE_ADDR": "192.168.1.9"},
        {"REMOTE_ADDR": "2001:db8::1"},
        {"HTTP_HOST": "evil.example"},  # whose name leads here, for a page that then may read the answer
        {"HTTP_HOST": "evil.example:8000"},
        {"HTTP_HOST": "127.0.0.1.evil.example"},
        {"HTTP_X_FORWARDED_FOR": "192.168.1.9"},
        {"HTTP_FORWARDED": "for=192.168.1.9"},
    ],
)
def test_nobody_else_is(meta: dict[str, str]) -> None:
    refused = answer(**meta)
    assert refused.status_code == 403
    assert refused.content == b"DEBUG=1 serves this machine only; set DEBUG=0\n"


def test_a_wrong_host_gets_no_error_page(client: Any) -> None:
    """By default: the debug page of a wrong name is the one that anybody may ask for."""
    refused = client.get("/", headers={"host": "evil.example"})
    assert refused.status_code == 400
    assert b"SECRET_KEY" not in refused.content
    assert b"Traceback" not in refused.content
