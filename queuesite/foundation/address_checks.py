"""Whether the addresses of databases can be used, as far as that can be said without asking them."""

from __future__ import annotations

import importlib

from django.core.exceptions import ImproperlyConfigured
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from queuesite.foundation.home import CLONE
from queuesite.foundation.masking import mask_address

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
