"""HTTP/1.1 as bytes: a signed request, and an answer that is read as it comes in. No sockets.

    letters = Letters("https://sqs.eu-west-1.amazonaws.com", "eu-west-1")
    … send letters.write(call, keys, now) …
    reader = AnswerReader()
    while (answer := reader.feed(data)) is None: …       # data=b"" if the server hung up

The general parsers (`http.client`'s is that of e-mail) cost more than all the rest of a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from queues.sqs.express import protocol
from queues.sqs.express.protocol import Call
from queues.sqs.express.signing import Keys, authorization, canonical_path, canonical_query, timestamp

#: Bounds of an answer. SQS's largest is ten messages of together 1 MiB, whose JSON may be six times as long.
MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 64 << 20

_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadAnswer(Exception):
    """What came is not a HTTP answer, or only a part of one: its rest is lost."""


def host_header(url: str) -> str:
    """The header `Host`, without a port that is its scheme's own, and without user and password."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


class Letters:
    """Writes the requests to one endpoint."""

    def __init__(self, url: str, region: str, *, user_agent: str, through: str | None = None) -> None:
        """`through` is the `Proxy-Authorization` for a proxy that forwards each request; empty if it wants none.

        Only `http` is forwarded: for `https` a proxy is asked for a tunnel, and sees nothing.
        """
        parts = urlsplit(url)
        self._region = region
        self._host = host_header(url)
        self._path, self._query = canonical_path(parts.path), canonical_query(parts.query)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if through is not None:
            target = f"{parts.scheme}://{self._host}{target}"
        self._begin = (
            f"POST {target} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {user_agent}\r\nAccept-Encoding: identity\r\n"
        )
        if through:
            self._begin += f"Proxy-Authorization: {through}\r\n"
        #: By operation: the headers that are signed, and the request's text before those that change.
        self._fixed: dict[str, tuple[dict[str, str], str]] = {}

    def write(self, call: Call[Any], keys: Keys, now: float) -> bytes:
        """The whole request. `now` is SQS's time, in seconds since 1970."""
        signed, text = self._fixed.get(call.operation) or self._fix(call.operation)
        at = timestamp(now)
        headers = {**signed, "x-amz-date": at}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
            text += f"X-Amz-Security-Token: {keys.token}\r\n"
        signature = authorization(
            keys,
            self._region,
            "sqs",
            method="POST",
            path=self._path,
            query=self._query,
            headers=headers,
            body=call.body,
            at=at,
        )
        length = len(call.body)
        return (
            f"{text}X-Amz-Date: {at}\r\nAuthorization: {signature}\r\nContent-Length: {length}\r\n\r\n".encode()
            + call.body
        )

    def _fix(self, operation: str) -> tuple[dict[str, str], str]:
        headers = protocol.headers(operation)
        lines = "".join(f"{name.title()}: {value}\r\n" for name, value in headers.items())
        fixed = self._fixed[operation] = ({**headers, "host": self._host}, self._begin + lines)
        return fixed


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. The names of the headers are in lower case; `reusable` is whether its connection may be used again."""

    status: int
    headers: dict[str, str]
    body: bytes
    reusable: bool


class AnswerReader:
    """Reads one answer. `began` is whether any byte of it has come."""

    __slots__ = ("_body_at", "_buffer", "_headers", "_keeps_alive", "_length", "_status", "began")

    def __init__(self) -> None:
        self._buffer = b""
        self._body_at = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        #: None: it is in chunks; -1: it ends with the connection.
        self._length: int | None = 0
        self._keeps_alive = True
        self.began = False

    def feed(self, data: bytes) -> Answer | None:
        """Take what came (nothing: the server has closed); return the answer once it is whole.

        Raises `BadAnswer`. Use it for nothing more after that, or after the answer.
        """
        if data:
            self.began = True
            self._buffer = self._buffer + data if self._buffer else data
        while not self._status:
            if not self._read_head():
                self._expect_more(data)
                return None
        size = len(self._buffer) - self._body_at
        if self._length is None:
            body = self._dechunked()
            if body is None:
                self._expect_more(data)
                return None
            return self._whole(body)
        if self._length < 0:
            if size > MAX_BODY_BYTES:
                raise BadAnswer("it is too long")
            return None if data else self._whole(self._buffer[self._body_at :])
        if size < self._length:
            self._expect_more(data)
            return None
        if size > self._length:
            self._keeps_alive = False  # nobody asked for more: whose answer would it be taken for?
        return self._whole(self._buffer[self._body_at : self._body_at + self._length])

    def _expect_more(self, data: bytes) -> None:
        if not data:
            raise BadAnswer("the server hung up amid its answer" if self.began else "the server hung up")

    def _whole(self, body: bytes) -> Answer:
        return Answer(self._status, self._headers, body, self._keeps_alive)

    def _read_head(self) -> bool:
        """Read status and headers. False: they are not all here yet."""
        end = self._buffer.find(b"\r\n\r\n", self._body_at)
        if end < 0:
            if len(self._buffer) - self._body_at > MAX_HEAD_BYTES:
                raise BadAnswer("its headers do not end")
            return False
        first, *lines = self._buffer[self._body_at : end].decode("latin-1").split("\r\n")
        self._body_at = end + 4
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdigit()) or len(code) < 3:
            raise BadAnswer(f"it begins with {first[:40]!r}")
        if code[0] == "1":  # 100 Continue and the like: the answer is still to come
            return True
        self._headers = headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise BadAnswer(f"a header is {line[:40]!r}")
            headers[name.lower()] = value.strip()
        self._status = int(code)
        self._keeps_alive = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        if code in ("204", "304"):
            return True
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise BadAnswer(f"its transfer encoding is {headers['transfer-encoding'][:40]!r}")
            self._length = None
        elif "content-length" in headers:
            length = headers["content-length"]
            if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY_BYTES:
                raise BadAnswer(f"its length is {length[:40]!r}")
            self._length = int(length)
        else:
            self._length, self._keeps_alive = -1, False
        return True

    def _dechunked(self) -> bytes | None:
        """The body that came in chunks, or None if its last is not here yet. SQS's answers are not chunked."""
        parts: list[bytes] = []
        at, total = self._body_at, 0
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            digits = self._buffer[at:end].partition(b";")[0].strip()
            try:
                size = int(digits, 16)
            except ValueError:
                size = -1
            total += size
            if size < 0 or not digits.isalnum() or total > MAX_BODY_BYTES:
                raise BadAnswer(f"a chunk's length is {digits[:20]!r}")
            at = end + 2
            if size == 0:
                break
            if len(self._buffer) < at + size + 2:
                return None
            if self._buffer[at + size : at + size + 2] != b"\r\n":
                raise BadAnswer("a chunk is longer than it says")
            parts.append(self._buffer[at : at + size])
            at += size + 2
        # Trailers, if any, and an empty line.
        while (end := self._buffer.find(b"\r\n", at)) > at:
            at = end + 2
        if end < 0:
            return None
        if len(self._buffer) > end + 2:
            self._keeps_alive = False
        return b"".join(parts)
