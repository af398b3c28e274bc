"""Whether addresses of servers, hosts and networks can be used, as far as that can be said without asking them."""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from queuesite.foundation.home import CLONE
from queuesite.foundation.masking import mask_address

#: The schemes of mail servers, each with its usual port.
MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
#: What such an address must look like.
ENCODED = "/?#[]@:% in user and password percent-encoded"


def reason(address: str, error: Exception) -> str:
    """What a library says of an address, in brackets; empty if that might show a part of its password."""
    # A library's error about an address that it cannot parse quotes parts of it, possibly of the password.
    return f" ({error})" if mask_address(address) == address else ""


def check_mongodb_address(text: str) -> None:
    """Raise `ValueError` unless it is an address of MongoDB."""
    if not text.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("expected an address like mongodb://host:27017/?replicaSet=rs0")
    if text.startswith("mongodb://"):  # the other form needs DNS, which a check must not wait for
        try:
            parse_uri(text)
        except (PyMongoError, ValueError) as error:
            raise ValueError(
                "not a MongoDB address; expected one like mongodb://user:password@host:27017/?replicaSet=rs0, "
                f"with {ENCODED}{reason(text, error)}"
            ) from None


def check_driver(engine: str) -> None:
    """Raise `ValueError` if Django's database engine lacks its driver; Django itself would print a traceback."""
    try:
        importlib.import_module(f"{engine}.base")
    except (ImportError, ImproperlyConfigured) as error:
        if "postgresql" in engine or "postgis" in engine:
            what = "-r requirements-postgres.txt" if CLONE else "'queuesite[postgres]'"
            raise ValueError(f"psycopg is missing or does not load: pip install {what}") from None
        raise ValueError(f"its driver cannot be loaded: {' '.join(str(error).split())}") from None


def check_mail_address(text: str) -> None:
    """Raise `ValueError` unless it is the address of a mail server. Passwords need TLS, except to this machine."""
    expected = f"expected an address like smtps://user:password@host or smtp://host:25, with {ENCODED}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in MAIL_PORTS and bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"}
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(expected)
    if parts.password and parts.scheme == "smtp" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("the password would be sent unencrypted; expected smtps:// (TLS) or smtp+tls:// (STARTTLS)")


def check_networks(entries: Iterable[str]) -> None:
    """Raise `ValueError` unless each is an address or a network."""
    for one in entries:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise ValueError(
                f"{one!r} is not an address or network; expected a list like 10.0.0.5,10.1.0.0/24"
            ) from None


def check_hosts(entries: Iterable[str]) -> None:
    """Raise `ValueError` unless each is a host name, an address or a network."""
    for entry in entries:
        try:
            ipaddress.ip_network(entry)
        except ValueError as error:
            if re.fullmatch(r"[\d.:/]*|.*[:/].*", entry):
                raise ValueError(f"{error}; expected hosts and networks like 127.0.0.1,10.1.0.0/16") from None
            if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", entry):
                raise ValueError(f"{entry!r} is not a host; expected a list like hooks.internal,10.1.0.0/16") from None
