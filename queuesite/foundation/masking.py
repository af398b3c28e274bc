"""Secrets as they may be shown: asterisks, and addresses without what authenticates.

Where an address is too odd to tell its parts apart, more of it is hidden rather than less: what is typed wrong is shown
in an error, and the mistake is often an unescaped character of the password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from pydantic import SecretStr

MASK = "********"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: A host with its port; a "port" that is no number may be the password of somebody who forgot `@host`.
_HOST = re.compile(r"(\[[0-9A-Za-z:.%]*\]|[^:\[\]]*)(:\d*)?")
_WITHOUT_SCHEME = re.compile(r"[\w.-]+(:\d+)?(/[\w./-]*)?")
#: Parameters whose values are secrets: MongoDB's proxyPassword, tlsCertificateKeyFilePassword and
#: authMechanismProperties (AWS_SESSION_TOKEN), libpq's password and sslpassword, and whatever is named alike.
_SECRET_PARAMETER = re.compile(r"pass|pwd|secret|token|credential|signature|propert|key(?!file$)", re.IGNORECASE)
_ADDRESS_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


class Address(SecretStr):
    """An address that may hold a password. It shows itself masked; `get_secret_value()` is for what connects."""

    def _display(self) -> str:
        return mask_address(self.get_secret_value())


def mask_address(text: str) -> str:
    """`text`, an address of any kind, with its password and the secret parameters of its query as asterisks."""
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return _without_scheme(text)
    place, question, query = rest.partition("?")
    if "@" in query:  # a question mark within the password, or an @ within a parameter: nobody can tell
        return f"{scheme}://{MASK}"
    user, at, place = place.rpartition("@")
    return f"{scheme}://{_user(scheme, user)}{at}{_place(place)}{question}{_query(query)}"


def mask_addresses(text: str) -> str:
    """`text` with each address in it masked."""
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
    # A database's user without a password authenticates nobody; a web address may have a token in its place.
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
