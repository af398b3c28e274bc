"""The check of requirements.lock, which `make lint` runs."""

from __future__ import annotations

import re

import pytest
from check_lock import LOCK, WANTED, problems, wanted

TEXT = LOCK.read_text()


def found(lock: str) -> list[str]:
    return problems(list(wanted(WANTED)), lock)


def test_lock_fits() -> None:
    assert found(TEXT) == []


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        # A direct requirement, one of a requirement's, and one of an extra.
        (r"^django==\S+", "django==5.2.0", "django is 5.2.0; requirements-postgres.txt requires =="),
        (r"^boto3==.*\n(    --hash.*\n)+", "", "boto3 is missing; it is required by requirements-postgres.txt"),
        (r"^h11==.*\n(    --hash.*\n)+", "", "h11 is missing; it is required by uvicorn"),
        (r"^psycopg-binary==.*\n(    --hash.*\n)+", "", "psycopg-binary is missing; it is required by psycopg"),
        (r"^(h11==\S+) .*\n(    --hash.*\n)+", "\\1\n", "h11 has no hash"),
        (r"^h11==\S+", "h11", "is not a pin"),
        (r"\Z", "\nleft-over==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n", "left-over is needed by nothing"),
    ],
)
def test_what_does_not_fit_is_named(pattern: str, replacement: str, problem: str) -> None:
    changed = re.sub(pattern, replacement, TEXT, count=1, flags=re.MULTILINE)
    assert changed != TEXT

    assert problem in " / ".join(found(changed))
