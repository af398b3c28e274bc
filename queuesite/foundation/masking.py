"""Masks secrets: asterisks in their place, and addresses without credentials.

If the parts of an address are ambiguous, more is hidden rather than less: errors show addresses that are mistyped, and
the mistake is often an unescaped character in the password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from pydantic import SecretStr

MASK = "********"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: A host with its port. A "port" that is not a number may be a password, if somebody forgot `@host`.
_HOST = re.compile(r"(\[[0-9A-Za-z:.%]*\]|[^:\[\]]*)(:\d*)?")
_WITHOUT_SCHEME = re.compile(r"[\w.-]+(:\d+)?(/[\w./-]*)?")
#: Parameters whose values are secrets: MongoDB's proxyPassword, tlsCertificateKeyFilePassword and
#: authMechanismProperties (AWS_SESSION_TOKEN), libpq's password and sslpassword, and others with such names.
_SECRET_PARAMETER = re.compile(r"pass|pwd|secret|token|credential|signature|propert|key(?!file$)", re.IGNORECASE)
_ADDRESS_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


class Address(SecretStr):
    """An address that may hold a password. Its `str` is masked; `get_secret_value()` is for connecting."""

    def _display(self) -> str:
        return mask_address(self.get_secret_value())


def mask_address(text: str) -> str:
    """`text`, an address of any kind, with its password and the secret parameters of its query as asterisks."""
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return _without_scheme(text)
    place, question, query = rest.partition("?")
    if "@" in query:  # a question mark in the password or an @ in a parameter: ambiguous
        return f"{scheme}://{MASK}"
    user, at, place = place.rpartition("@")
    return f"{scheme}://{_user(scheme, user)}{at}{_place(place)}{question}{_query(query)}"


def mask_addresses(text: str) -> str:
    """`text` with every address in it masked."""
    return _ADDRESS_IN_TEXT.sub(lambda found: mask_address(found[0]), text)


def _without_scheme(text: str) -> str:
    if not text:
        return ""
    head, at, tail = text.rpartition("@")
    shown = tail if _WITHOUT_SCHEME.fullmatch(tail) else MASK
    return f"{MASK if head else ''}{at}{shown}"


def _user(scheme: str, user: str) -> str:
    name, colon, _ = user.partition(":")
    if colon:
        return f"{name}:{MASK}"
    # A database user without a password is not a credential, but in a web address it may be a token.
    return MASK if user and scheme.lower() in {"http", "https"} else user


def _place(place: str) -> str:
    hosts, slash, path = place.partition("/")
    for host in hosts.split(","):
        if not _HOST.fullmatch(host):
            return f"{hosts[: hosts.index(host)]}{host.partition(':')[0]}:{MASK}"
    return f"{hosts}{slash}{path}"


def _query(query: str) -> str:
    # pymongo takes a semicolon for an ampersand.
    return "".join(part if part in {"&", ";"} else _parameter(part) for part in re.split(r"([&;])", query) if part)


def _parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    if not equals:
        return MASK
    return f"{name}={MASK}" if _SECRET_PARAMETER.search(unquote(name)) else part
