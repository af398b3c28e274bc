"""What is shown of an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesite.foundation.masking import Address, mask_address, mask_addresses

#: Every address has a `hidden` in it that must not be seen; the second is what is seen.
ODD = [
    ("mongodb://me:hidden@host/name", "mongodb://me:********@host/name"),
    ("mongodb://me:hid%40hidden@a:1,b:2/?replicaSet=rs0", "mongodb://me:********@a:1,b:2/?replicaSet=rs0"),
    ("mongodb://me:p@hidden@host/", "mongodb://me:********@host/"),
    ("mongodb://me:hi/hidden@host/", "mongodb://me:********@host/"),
    ("mongodb://me:hi:hidden@[::1]:27017/", "mongodb://me:********@[::1]:27017/"),
    ("mongodb://me:hi?hidden@host/", "mongodb://********"),
    ("mongodb://me:hidden", "mongodb://me:********"),
    ("mongodb://me:hid/hidden", "mongodb://me:********"),
    ("mongodb://a:1,me:hidden,b:2", "mongodb://a:1,me:********"),
    ("mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:hidden%3D", "mongodb://host/?authMechanismProperties=********"),
    ("mongodb://AK:hidden@h/?tls=true&tlsCertificateKeyFilePassword=hidden", "mongodb://AK:********@h/?tls=true&tlsCertificateKeyFilePassword=********"),
    ("mongodb://h/?proxyPassword=hidden;w=1", "mongodb://h/?proxyPassword=********;w=1"),
    ("mongodb://h/?proxy%50assword=hidden", "mongodb://h/?proxy%50assword=********"),
    ("mongodb://h/?PROXYPASSWORD=hidden", "mongodb://h/?PROXYPASSWORD=********"),
    ("mongodb://h/?hidden", "mongodb://h/?********"),
    ("mongodb+srv://me:hidden@cluster.example/?appName=x", "mongodb+srv://me:********@cluster.example/?appName=x"),
    ("postgres://me@host/name?password=hidden&sslmode=require", "postgres://me@host/name?password=********&sslmode=require"),
    ("postgres://me@host/name?sslpassword=hidden", "postgres://me@host/name?sslpassword=********"),
    ("postgres://me:hidden#x@host:5432/name", "postgres://me:********@host:5432/name"),
    ("https://me:hidden@sqs.example/", "https://me:********@sqs.example/"),
    ("https://hidden@sqs.example", "https://********@sqs.example"),
    ("https://sqs.example/?X-Amz-Signature=hidden", "https://sqs.example/?X-Amz-Signature=********"),
    ("me:hidden@host", "********@host"),
    ("me:hidden", "********"),
    ("host=db password=hidden", "********"),
    ("a b://me:hidden@host", "********@host"),
    ("://me:hidden@host", "********@host"),
]  # fmt: skip

#: These are shown as they are, or errors about them would help nobody.
PLAIN = [
    *("aws", "127.0.0.1:4566", "http://127.0.0.1:4566", "https://[::1]:4566/path", "mongodb://me@host/"),
    *("mongodb://a:1,b:2/name?replicaSet=rs0&tlsCertificateKeyFile=/etc/key.pem", "sqlite:////srv/x.sqlite3"),
    *("mongodb://127.0.0.1:27117/?directConnection=true&retryWrites=false&w=1", ""),
]


@pytest.mark.parametrize(("address", "shown"), ODD)
def test_what_authenticates_is_hidden(address: str, shown: str) -> None:
    assert mask_address(address) == shown
    assert "hidden" not in shown


@pytest.mark.parametrize("address", PLAIN)
def test_what_is_no_secret_is_shown(address: str) -> None:
    assert mask_address(address) == address


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12), st.text("@/?#:%&;=[] \\", max_size=6))
def test_no_password_is_seen_whatever_is_in_it(before: str, odd: str) -> None:
    for scheme in ("mongodb", "postgres", "https"):
        for password in (f"{before}{odd}Hunter2", f"Hunter2{odd}{before}", f"{odd}Hunter2{odd}"):
            assert "Hunter2" not in mask_address(f"{scheme}://me:{password}@host/name")


@given(st.text(max_size=40))
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(mask_address(text), str)


def test_an_address_shows_itself_masked() -> None:
    address = Address("mongodb://me:hidden@host/")
    for shown in (str(address), repr(address), f"{address}", f"{[address]}"):
        assert "hidden" not in shown
        assert "host" in shown
    assert address.get_secret_value() == "mongodb://me:hidden@host/"


def test_addresses_within_a_text_are_masked() -> None:
    said = "cannot reach 'mongodb://me:hidden@host/x' (or postgres://me:hidden@db/)"
    assert mask_addresses(said) == "cannot reach 'mongodb://me:********@host/x' (or postgres://me:********@db/)"
