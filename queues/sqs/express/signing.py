"""AWS's Signature Version 4, of one request at a time.

The signing key of a day is cached: it takes four of a signature's five HMACs. That, and that nothing is built that is
not sent, is all that differs from botocore's `SigV4Auth`; the headers are the same, byte for byte.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import functools
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials as they are at one moment. Only the key's id may be shown."""

    access_key: str
    secret_key: str = field(repr=False)
    #: The session token of temporary keys, which expire.
    token: str | None = field(default=None, repr=False)


# Eight: yesterday's and today's, of the keys before and after a renewal, for two regions.
@functools.lru_cache(maxsize=8)
def signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    """The key that signs everything of one day (`date` is like 20261126), region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def timestamp(now: float) -> str:
    """A moment, in seconds since 1970, as the header `X-Amz-Date` has it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def canonical_path(path: str) -> str:
    """The path of a URL as it is signed. Every service but S3 signs what is percent-encoded already once more."""
    return quote(path or "/", safe="/~")


def canonical_query(query: str) -> str:
    """The query of a URL (encoded as it is sent) as it is signed: sorted by name, then by value."""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def authorization(
    keys: Keys,
    region: str,
    service: str,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    at: str,
) -> str:
    """The value of the header `Authorization`.

    `path` and `query` are canonical. `headers` are those to be signed, by their names in lower case, which must include
    `host`, `x-amz-date` (it is `at`) and, if the keys have a token, `x-amz-security-token`.
    """
    names = sorted(headers)
    signed = ";".join(names)
    lines = "".join([f"{name}:{' '.join(headers[name].split())}\n" for name in names])
    request = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = signing_key(keys.secret_key, at[:8], region, service)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
