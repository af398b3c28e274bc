"""Signature Version 4: byte for byte what botocore signs, and AWS's own examples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from queues.sqs.express.signing import Keys, authorization, canonical_path, canonical_query, signing_key, timestamp

EXAMPLE = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
# What may stand in a header, runs of blanks included.
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
names = st.from_regex(r"x-[a-z]{1,12}", fullmatch=True).filter(lambda name: name not in {"x-amz-date", "x-amzn-trace"})
segments = st.text("abcXYZ019-_.~%+ :@()é", min_size=1, max_size=10).filter(lambda part: part.strip(".") != "")


def by_botocore(keys: Keys, region: str, url: str, headers: dict[str, str], body: bytes, now: float) -> dict[str, str]:
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    with patch("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(now, UTC)):
        SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), "sqs", region).add_auth(request)
    return dict(request.headers.items())


@given(
    key=text,
    secret=st.text(min_size=1, max_size=60).filter(lambda t: t.isprintable()),
    token=st.none() | text,
    region=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    now=st.integers(0, 4_000_000_000),
    body=st.binary(max_size=2_000),
    extra=st.dictionaries(names, header_values, max_size=4),
    path=st.lists(segments, max_size=3),
    query=st.lists(st.tuples(text, text).map("=".join).filter(lambda q: not set(q) & set("&#")), max_size=3),
)
def test_it_is_what_botocore_signs(
    key: str,
    secret: str,
    token: str | None,
    region: str,
    now: int,
    body: bytes,
    extra: dict[str, str],
    path: list[str],
    query: list[str],
) -> None:
    keys = Keys(key, secret, token)
    url = "https://sqs.example:4566" + "".join("/" + part for part in path) + ("?" + "&".join(query) if query else "")
    theirs = by_botocore(keys, region, url, extra, body, now)

    at = timestamp(now)
    headers = {**extra, "host": "sqs.example:4566", "x-amz-date": at}
    if token is not None:
        headers["x-amz-security-token"] = token
    parts = urlsplit(url)
    ours = authorization(
        keys,
        region,
        "sqs",
        method="POST",
        path=canonical_path(parts.path),
        query=canonical_query(parts.query),
        headers=headers,
        body=body,
        at=at,
    )

    assert theirs["X-Amz-Date"] == at
    assert ours == theirs["Authorization"]


def test_key_of_a_day_as_in_the_documentation() -> None:
    """IAM User Guide, "Create a signed AWS API request", and its examples of derived keys."""
    key = signing_key(EXAMPLE.secret_key, "20150830", "us-east-1", "iam")

    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("service", "method", "query", "headers", "body", "signature"),
    [
        # The example that the documentation computes step by step.
        (
            "iam",
            "GET",
            "Action=ListUsers&Version=2010-05-08",
            {"host": "iam.amazonaws.com", "content-type": f"{FORM}; charset=utf-8"},
            b"",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        # Of the Signature Version 4 test suite: get-vanilla, get-vanilla-query-order-key-case, get-header-value-trim,
        # post-vanilla, post-x-www-form-urlencoded.
        ("service", "GET", "", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "service",
            "GET",
            "Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "service",
            "GET",
            "",
            {"my-header1": " value1", "my-header2": ' "a   b   c"'},
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        ("service", "POST", "", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "service",
            "POST",
            "",
            {"content-type": FORM},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)
def test_requests_as_in_the_documentation(
    service: str, method: str, query: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    at = "20150830T123600Z"
    value = authorization(
        EXAMPLE,
        "us-east-1",
        service,
        method=method,
        path="/",
        query=canonical_query(query),
        headers={"host": "example.amazonaws.com", "x-amz-date": at, **headers},
        body=body,
        at=at,
    )

    assert value.startswith(f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, ")
    assert value.endswith(f", Signature={signature}")


def test_secrets_are_not_shown() -> None:
    shown: Any = repr(Keys("ASIAX", "s3cret", "t0ken"))

    assert "ASIAX" in shown
    assert "s3cret" not in shown
    assert "t0ken" not in shown
