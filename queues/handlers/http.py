"""The `http` handler: POSTs each message to a URL.

It is built on urllib3, which boto3 brings anyway. The host is resolved here, and the connection is made to the address
that was checked, so that a name that resolves differently a moment later (DNS rebinding) cannot bypass the check.
Redirects are not followed.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit

import urllib3
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as ExchangeTimeout

from queues.handlers.contract import Message, Reject, Retry
from queues.handlers.deadline import Deadline, addresses_of, pool_manager
from queues.handlers.reach import Address, refusal
from queues.sqs import MAX_VISIBILITY_SECONDS
from queuesite.foundation.config import get_config

#: How much of an answer is read, in bytes: enough for a reason, not enough to fill the memory.
ANSWER_BYTES = 2_048


# RFC 9110: a token, and what latin-1 has beside control characters.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_NOT_IN_ADDRESSES = re.compile(r"[\x00-\x20\x7f]")


class HttpOptions(BaseModel):
    """Options of `http`."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="where to POST the body, http:// or https://", max_length=2_000)
    timeout: float = Field(
        30.0, gt=0, le=900, description="seconds for the whole exchange, the look-up of the name included"
    )
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="further headers, such as Authorization")

    #: Whoever changes it gives the headers again, and does not have them sent elsewhere.
    secrets_go_to: ClassVar[tuple[str, ...]] = ("url",)

    @field_validator("url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        expected = f"{value!r} is not an address; expected one like https://example.com/hook"
        if _NOT_IN_ADDRESSES.search(value):
            raise ValueError(expected)
        try:
            parts = urlsplit(value)
        except ValueError:
            raise ValueError(expected) from None
        if parts.username is not None:
            # Every failure is logged with the address.
            raise ValueError("an address with a user or password would be logged; give an Authorization in the headers")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(expected)
        local = parts.hostname == "localhost" or parts.hostname.endswith(".localhost")
        try:
            _ = parts.port
            literal = ipaddress.ip_address("127.0.0.1" if local else parts.hostname)
        except ValueError as error:
            if "port" in str(error).lower():
                raise ValueError(f"{value!r}: the port must be from 1 to 65535") from None
            return value  # a name, which is checked when it has been resolved
        if refused := refusal(literal, get_config(), parts.hostname):
            raise ValueError(refused)
        return value

    @field_validator("headers")
    @classmethod
    def _one_line(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, content in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"header {name!r} is not a valid name of a header")
            if name.lower() in {"content-length", "transfer-encoding"}:
                raise ValueError(f"header {name!r} is set from the message and cannot be chosen")
            if not _HEADER_VALUE.fullmatch(content.get_secret_value()):
                raise ValueError(f"header {name!r} has a character that headers may not contain")
        return value


@functools.cache
def _pools() -> urllib3.PoolManager:
    return pool_manager(num_pools=50, maxsize=64, retries=False)


def post_message(message: Message) -> None:
    """POST the body to a URL: 2xx is done, 429 and 5xx are retried (honouring Retry-After), others are rejected."""
    options = message.options
    assert isinstance(options, HttpOptions)
    parts = urlsplit(options.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    headers = HTTPHeaderDict(
        {
            "Host": parts.netloc,
            "User-Agent": "queuesite",
            "Content-Type": "application/json" if _is_json(message.body) else "text/plain; charset=utf-8",
            "X-Queuesite-Message-Id": message.id,
            "X-Queuesite-Queue": message.queue,
            "X-Queuesite-Receive-Count": str(message.receive_count),
        }
    )
    for name, value in options.headers.items():
        headers[name] = value.get_secret_value()  # whatever the case of its name
    tls = {"server_hostname": host, "assert_hostname": host} if parts.scheme == "https" else None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    deadline = Deadline(options.timeout)
    addresses = _resolve(options, host, port, deadline)
    with deadline.enforced():
        for address in addresses:
            pool = _pools().connection_from_host(str(address), port, parts.scheme, pool_kwargs=tls)
            try:
                answer = pool.urlopen(
                    "POST",
                    target,
                    body=message.body.encode("utf-8", "surrogatepass"),
                    headers=headers,
                    timeout=urllib3.Timeout(total=deadline.left),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
                text = answer.read(ANSWER_BYTES).decode("utf-8", "replace").strip()
                if not answer.closed:  # what is left unread would be taken for the next answer
                    answer.close()
                break
            except NewConnectionError as error:
                if address == addresses[-1]:
                    raise Retry(f"{options.url}: {error}") from error
                # Nobody listens there: `localhost` is ::1 first, and a server may be on 127.0.0.1 only.
            except HTTPError as error:
                if deadline.broken or isinstance(error, ExchangeTimeout):
                    raise _late(options) from error
                raise Retry(f"{options.url}: {error}") from error
    if deadline.broken:
        raise _late(options)
    _judge(answer.status, answer.headers.get("Retry-After"), text)


def _late(options: HttpOptions) -> Retry:
    return Retry(f"{options.url}: timed out after {options.timeout:g} s")


def _judge(status: int, retry_after: str | None, text: str) -> None:
    if 200 <= status < 300:
        return
    reason = f"HTTP {status}" + (f": {text[:200]}" if text else "")
    if status == 429 or status >= 500:
        raise Retry(reason, delay=_seconds(retry_after))
    raise Reject(reason)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds, from seconds or a date (RFC 9110); anything else counts as absent."""
    if not retry_after:
        return None
    try:
        seconds = float(int(retry_after))
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), float(MAX_VISIBILITY_SECONDS))


def _resolve(options: HttpOptions, host: str, port: int, deadline: Deadline) -> list[Address]:
    try:
        found = [ipaddress.ip_address(text) for text in addresses_of(host, port, deadline)]
    except TimeoutError as error:
        raise _late(options) from error
    except OSError as error:
        raise Retry(f"{host} cannot be resolved: {error}") from error
    for address in found:
        if refused := refusal(address, get_config(), host):
            raise Reject(f"{host}: {refused}")
    return list(dict.fromkeys(found))


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
