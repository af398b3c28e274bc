"""The product's words for what Django and the theme say: compiled, and of sentences that they still have."""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import axes
import django.contrib.admin
import django.contrib.auth
import django_q
import unfold
from compile_words import COMPILED, catalogue, compiled

PACKAGES = (django.contrib.admin, django.contrib.auth, unfold, django_q, axes)


def test_the_words_are_compiled() -> None:
    """`make docs` compiles them. The header says by which version, so it is left out."""
    with COMPILED.open("rb") as file:
        assert _words(file) == _words(io.BytesIO(compiled()))


def _words(file: BinaryIO) -> list[str]:
    found = gettext.GNUTranslations(file)
    return [
        found.gettext(message.id)
        if isinstance(message.id, str)
        else found.ngettext(message.id[0], message.id[1], number)
        for message in catalogue()
        if message.id
        for number in (1, 2)
    ]


def test_the_packages_still_say_what_has_other_words_here() -> None:
    said = "".join(_sources())
    # Strings in several parts, and variables as templates write them, as gettext has them.
    said = re.sub(r"[\"']\s*\n\s*[\"']", "", said).replace('\\"', '"').replace("\\'", "'")
    said = re.sub(r"\{\{ ?(\w+) ?\}\}", r"%(\1)s", re.sub(r"\s+", " ", said))
    written = [
        text for message in catalogue() for text in ([message.id] if isinstance(message.id, str) else message.id)
    ]
    assert [text for text in written if text and text not in said] == []


def _sources() -> Iterator[str]:
    for package in PACKAGES:
        for path in Path(package.__path__[0]).rglob("*"):
            if path.suffix in {".py", ".html"}:
                yield path.read_text(errors="replace")
