"""A proxy in front of SQS that passes everything on, except what a test makes it refuse, answer or cut off."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import urllib3

from tests.support.http_server import Server

Forward = Callable[[dict[str, Any]], dict[str, Any]]
Answer = Callable[[dict[str, Any], Forward], dict[str, Any]]


class Refused(Exception):
    """An error that SQS answers. `code` is the one that boto3 shows."""

    def __init__(self, code: str, message: str = "made up", status: int = 400) -> None:
        self.code, self.message, self.status = code, message, status
        super().__init__(code)


class Cut(Exception):
    """The connection is closed, without an answer or (if there is one) after half of it."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.answer = answer
        super().__init__("cut")


@dataclass
class Rule:
    """What happens to an action, for the next `times` requests (None: for all)."""

    answer: Answer
    times: int | None


class SqsProxy:
    """The proxy. `requests` has the action and the parameters of each request, in order.

    `credentials` has what each of them was signed with: the key's id, and the session token or None.
    """

    def __init__(self, upstream: str, access_key: str) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.credentials: list[tuple[str, str | None]] = []
        #: When each request was signed, as its header says (like 20261126T120000Z).
        self.signed_at: list[str] = []
        #: Answers actions without a rule: returns the rule for an action, or None to pass it on.
        self.behaviour: Callable[[str], Answer | None] = lambda action: None
        self._rules: defaultdict[str, list[Rule]] = defaultdict(list)
        self._lock = threading.Lock()
        #: Requests are passed on with the key that SQS knows, since it does not verify signatures.
        self._credential = f"Credential={access_key}/"
        parts = urlsplit(upstream)
        self._upstream = urllib3.HTTPConnectionPool(parts.hostname or "", parts.port, maxsize=32, retries=False)
        self._server = Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._upstream.close()

    def answer(self, action: str, answer: Answer, times: int | None = None) -> None:
        """Answer `action` by `answer(parameters, forward)`, which may raise `Refused` or `Cut`."""
        self._rules[action].append(Rule(answer, times))

    def refuse(
        self, action: str, code: str, message: str = "made up", *, status: int = 400, times: int | None = None
    ) -> None:
        """Answer `action` with an error."""

        def refused(_: dict[str, Any], __: Forward) -> dict[str, Any]:
            raise Refused(code, message, status)

        self.answer(action, refused, times)

    def cut(self, action: str, *, after: bool = False, amid: bool = False, times: int | None = None) -> None:
        """Close the connection at `action`: before SQS has seen it, after SQS has done it, or amid the answer."""

        def cut(parameters: dict[str, Any], forward: Forward) -> dict[str, Any]:
            answer = forward(parameters) if after or amid else None
            raise Cut(answer if amid else None)

        self.answer(action, cut, times)

    def heal(self) -> None:
        """Pass everything on from now on."""
        self._rules.clear()

    def count(self, action: str) -> int:
        """How many requests of this action have arrived."""
        return sum(1 for name, _ in self.requests if name == action)

    def rule_for(self, action: str, parameters: dict[str, Any], headers: Mapping[str, str]) -> Answer | None:
        """Record a request, and return the rule for it."""
        key = headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        with self._lock:
            self.requests.append((action, parameters))
            self.credentials.append((key, headers.get("X-Amz-Security-Token")))
            self.signed_at.append(headers.get("X-Amz-Date", ""))
            for rule in self._rules[action]:
                if rule.times is None:
                    return rule.answer
                if rule.times > 0:
                    rule.times -= 1
                    return rule.answer
        return self.behaviour(action)

    def forward(self, body: bytes, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Pass a request on to SQS."""
        known = {"Authorization": re.sub("Credential=[^/]*/", self._credential, headers.get("Authorization", ""))}
        return self._upstream.urlopen("POST", "/", body=body, headers={**headers, **known}, redirect=False)

    def ask(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send SQS a request of the proxy's own."""
        headers = {
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        return _value(self.forward(json.dumps(parameters).encode(), headers))


def _value(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """The answer of SQS. Its errors are raised, and so passed on."""
    value: dict[str, Any] = json.loads(answer.data)
    if answer.status != 200:
        code = answer.headers.get("x-amzn-query-error", value.get("__type", "")).partition(";")[0]
        raise Refused(code, value.get("message", ""), answer.status)
    return value


def _handler(proxy: SqsProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(OSError):  # between two requests the connection may be reset
                super().handle()

        def do_POST(self) -> None:
            try:
                self._pass_on()
            except (OSError, urllib3.exceptions.HTTPError):  # one end has closed, so the other is closed too
                self.close_connection = True

        def _pass_on(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionResetError("the request was cut off")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in {"content-length", "connection"}}
            action = self.headers["X-Amz-Target"].rpartition(".")[2]
            parameters = json.loads(body)
            rule = proxy.rule_for(action, parameters, headers)
            if rule is None:
                answer = proxy.forward(body, headers)
                passed = {k: v for k, v in answer.headers.items() if k.lower().startswith("x-amz")}
                self._answer(answer.status, answer.data, passed)
                return

            def forward(changed: dict[str, Any]) -> dict[str, Any]:
                return _value(proxy.forward(json.dumps(changed).encode(), headers))

            try:
                self._answer(200, json.dumps(rule(parameters, forward)).encode(), {})
            except Refused as error:
                fault = "Sender" if error.status < 500 else "Receiver"
                details = json.dumps({"__type": error.code, "message": error.message})
                self._answer(error.status, details.encode(), {"x-amzn-query-error": f"{error.code};{fault}"})
            except Cut as cut:
                if cut.answer is not None:
                    self._answer(200, json.dumps(cut.answer).encode(), {}, cut=True)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def _answer(self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/x-amz-json-1.0"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base class has it
            pass

    return Handler
