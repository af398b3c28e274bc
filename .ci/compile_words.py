"""Compile the words of `queuesite/locale`, which Django reads compiled. `make docs` does it, and a test compares."""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

WORDS = Path(__file__).resolve().parent.parent / "queuesite" / "locale" / "en" / "LC_MESSAGES" / "django.po"
COMPILED = WORDS.with_suffix(".mo")


def catalogue() -> Catalog:
    """The words as they are written."""
    with WORDS.open("rb") as file:
        return read_po(file, locale="en", abort_invalid=True)


def compiled() -> bytes:
    """The file that Django reads."""
    made = io.BytesIO()
    write_mo(made, catalogue())
    return made.getvalue()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
