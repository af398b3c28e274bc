"""HTTP/1.1 as bytes: answers in any pieces, and those that are none."""

from __future__ import annotations

import http.client
import io
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.sqs.express import protocol
from queues.sqs.express.signing import Keys
from queues.sqs.express.wire import MAX_HEAD_BYTES, Answer, AnswerReader, BadAnswer, Letters, host_header

KEYS = Keys("AKID", "secret", "token")


def fed(data: bytes, *pieces: int, close: bool = False) -> Answer | None:
    """What a reader makes of the data, in pieces of these sizes."""
    reader = AnswerReader()
    at = 0
    for size in (*pieces, len(data)):
        if data[at : at + size] and (answer := reader.feed(data[at : at + size])):
            return answer
        at += size
    return reader.feed(b"") if close else None


class FakeSocket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_http_client(data: bytes) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(FakeSocket(data), method="POST")  # type: ignore[arg-type]
    response.begin()
    return response.status, {k.lower(): v.strip() for k, v in response.getheaders()}, response.read()


NAMES = st.from_regex(r"X-[A-Za-z]{1,8}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


class TestAnswers:
    @given(
        status=st.sampled_from([200, 400, 403, 500, 503]),
        headers=st.dictionaries(NAMES.map(str.lower), VALUES, max_size=4),
        body=st.binary(max_size=300),
        chunks=st.none() | st.lists(st.integers(1, 60), min_size=1, max_size=20),
        continued=st.booleans(),
        pieces=st.lists(st.integers(1, 50), max_size=30),
    )
    def test_they_are_those_of_http_client_in_any_pieces(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        chunks: list[int] | None,
        continued: bool,
        pieces: list[int],
    ) -> None:
        data = b"HTTP/1.1 100 Continue\r\n\r\n" if continued else b""
        data += f"HTTP/1.1 {status} Said so\r\n".encode()
        data += "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        if chunks is None:
            data += f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        else:
            data += b"Transfer-Encoding: chunked\r\n\r\n"
            at = 0
            for size in chunks:
                if part := body[at : at + size]:
                    data += f"{len(part):x};extension\r\n".encode() + part + b"\r\n"
                at += size
            body = body[:at]
            data += b"0\r\nTrailer: x\r\n\r\n"

        answer = fed(data, *pieces)

        assert answer is not None
        assert answer.reusable
        assert (answer.status, answer.body) == (status, body)
        assert (answer.status, answer.headers, answer.body) == by_http_client(data)

    @given(data=st.binary(max_size=200), begin=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 "]))
    def test_anything_else_is_a_bad_answer_or_none_yet(self, data: bytes, begin: bytes) -> None:
        with suppress(BadAnswer):
            fed(begin + data, close=True)

    def test_one_that_ends_with_the_connection(self) -> None:
        data = b"HTTP/1.1 200 OK\r\n\r\n{}"

        assert fed(data) is None
        assert fed(data, close=True) == Answer(200, {}, b"{}", False)

    @pytest.mark.parametrize(
        ("data", "reusable"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
            (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", True),
            (b"HTTP/1.1 204 No Content\r\n\r\n", True),
            (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK", False),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore", False),
        ],
    )
    def test_whether_the_connection_can_be_used_again(self, data: bytes, reusable: bool) -> None:
        answer = fed(data)

        assert answer is not None
        assert answer.reusable is reusable
        assert answer.body == b""

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "hung up$"),
            (b"HTTP/1.1 200 OK\r\nContent-Len", "amid its answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", "amid its answer"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "amid its answer"),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "begins with 'SSH-2.0"),
            (b"HTTP/1.1 abc OK\r\n\r\n", "begins with"),
            (b"HTTP/2 200\r\n\r\n", "begins with"),
            (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "a header is 'nonsense'"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length is '-1'"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "length is '9"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding is 'gzip'"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "a chunk's length is"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "a chunk's length is"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "longer than it says"),
            (b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_HEAD_BYTES, "headers do not end"),
        ],
    )
    def test_what_is_wrong_with_one(self, data: bytes, words: str) -> None:
        with pytest.raises(BadAnswer, match=words):
            fed(data, close=True)

    def test_whether_any_of_it_came(self) -> None:
        reader = AnswerReader()
        with pytest.raises(BadAnswer):
            reader.feed(b"")
        assert not reader.began

        reader = AnswerReader()
        reader.feed(b"H")
        assert reader.began


class TestLetters:
    def written(self, url: str, **options: Any) -> tuple[str, dict[str, str], bytes]:
        letters = Letters(url, "eu-west-1", user_agent="Queuesite", **options)
        data = letters.write(protocol.depth("https://q/1/ä"), KEYS, 1_440_938_160)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body

    def test_request(self) -> None:
        first, headers, body = self.written("https://sqs.eu-west-1.amazonaws.com")

        assert first == "POST / HTTP/1.1"
        assert headers.pop("authorization").startswith("AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-west-1/sqs/")
        assert headers == {
            "accept-encoding": "identity",
            "content-length": str(len(body)),
            "content-type": "application/x-amz-json-1.0",
            "host": "sqs.eu-west-1.amazonaws.com",
            "user-agent": "Queuesite",
            "x-amz-date": "20150830T123600Z",
            "x-amz-security-token": "token",
            "x-amz-target": "AmazonSQS.GetQueueAttributes",
            "x-amzn-query-mode": "true",
        }

    def test_endpoint_with_a_path(self) -> None:
        assert self.written("http://gate:8080/to/sqs?a=b")[0] == "POST /to/sqs?a=b HTTP/1.1"

    def test_through_a_proxy_that_forwards(self) -> None:
        first, headers, _ = self.written("http://me:hidden@sqs.internal/", through="Basic eDp5")

        assert first == "POST http://sqs.internal/ HTTP/1.1"
        assert headers["proxy-authorization"] == "Basic eDp5"
        assert "proxy-authorization" not in self.written("http://sqs.internal/", through="")[1]

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://SQS.Example:443/", "sqs.example"),
            ("http://sqs.example:443", "sqs.example:443"),
            ("http://me:hidden@sqs.example", "sqs.example"),
            ("http://[::1]:4566", "[::1]:4566"),
            ("http://[::1]", "[::1]"),
        ],
    )
    def test_host(self, url: str, host: str) -> None:
        assert host_header(url) == host
