"""SQS's rules for names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.naming import dead_letter_name, dead_letter_source, is_fifo, validate_name
from queuesite.foundation.errors import InvalidInput

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
standard = st.text(ALPHABET, min_size=1, max_size=76)
fifo = st.text(ALPHABET, min_size=1, max_size=71).map(lambda base: f"{base}.fifo")
names = st.one_of(standard, fifo)


def accepted(name: str, prefix: str = "", with_dlq: bool = True) -> bool:
    refusal: InvalidInput | None = None
    try:
        validate_name(name, prefix=prefix, with_dlq=with_dlq)
    except InvalidInput as error:
        refusal = error
    if refusal is None:
        return True
    assert refusal.field == "name"
    assert repr(name) in str(refusal)
    assert "\n" not in str(refusal)
    return False


@given(names)
def test_good_names_are_taken(name: str) -> None:
    assert accepted(name)


@given(st.text(max_size=90))
def test_taken_names_are_good_in_sqs(name: str) -> None:
    if accepted(name):
        for created in (name, dead_letter_name(name)):
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", created)


@given(standard, st.characters(exclude_characters=ALPHABET), st.integers(0, 76))
def test_one_bad_character_is_enough(name: str, bad: str, place: int) -> None:
    assert not accepted(name[:place] + bad + name[place:])


@given(names)
def test_dead_letter_queue_is_of_the_same_kind(name: str) -> None:
    assert is_fifo(dead_letter_name(name)) == is_fifo(name)


@given(names)
def test_dead_letter_names_do_not_collide(name: str) -> None:
    assert dead_letter_name(name) != name
    assert dead_letter_source(dead_letter_name(name)) == name


@given(names)
def test_source_is_that_of_a_dead_letter_name_alone(name: str) -> None:
    source = dead_letter_source(name)
    assert source is None or dead_letter_name(source) == name


@given(standard, st.text(ALPHABET, max_size=40), st.booleans())
def test_prefix_and_dead_letter_suffix_count(name: str, prefix: str, with_dlq: bool) -> None:
    longest = len(prefix) + len(name) + (4 if with_dlq else 0)

    assert accepted(name, prefix, with_dlq) == (longest <= 80)


@pytest.mark.parametrize(
    ("name", "with_dlq", "good"),
    [
        ("a", True, True),
        ("x" * 76, True, True),
        ("x" * 77, True, False),
        ("x" * 80, False, True),
        ("x" * 81, False, False),
        ("x" * 75 + ".fifo", False, True),
        ("x" * 76 + ".fifo", False, False),
        ("", True, False),
        (".fifo", True, False),
        ("a.fifo.fifo", True, False),
        ("a.FIFO", True, False),
        ("a.b", True, False),
        ("a\n", True, False),
        (" a", True, False),
        ("ä", True, False),
        ("١", True, False),  # a digit, but not of SQS's
    ],
)
def test_limits(name: str, with_dlq: bool, good: bool) -> None:
    assert accepted(name, with_dlq=with_dlq) is good


@pytest.mark.parametrize(
    ("name", "dead"), [("orders", "orders-dlq"), ("orders.fifo", "orders-dlq.fifo"), ("a-dlq", "a-dlq-dlq")]
)
def test_dead_letter_names(name: str, dead: str) -> None:
    assert dead_letter_name(name) == dead


@pytest.mark.parametrize("name", ["orders", "-dlq", "-dlq.fifo", "orders.fifo", "orders-dlq.other"])
def test_names_that_are_nobodys_dead_letter_queue(name: str) -> None:
    assert dead_letter_source(name) is None


def test_message_tells_the_name_in_sqs_and_its_length() -> None:
    with pytest.raises(InvalidInput, match=r"'prod-x+-dlq', as it is in SQS, has 85 characters"):
        validate_name("x" * 76, prefix="prod-")
