"""Guessing passwords: what is locked, and who is not."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from queuesite.guard import ADDRESS, COOL_OFF, KNOWN, NAME, PAIR, client_address

pytestmark = pytest.mark.django_db

LOGIN = reverse("admin:login")
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture(autouse=True)
def ada() -> User:
    return User.objects.create_user("ada", password="right", is_staff=True)


def log_in(password: str, address: str = HOME, name: str = "ada") -> int:
    return int(Client(REMOTE_ADDR=address).post(LOGIN, {"username": name, "password": password}).status_code)


def failed(count: int, *, name: str = "ada", address: str = HOME, agent: str = "") -> None:
    """As many wrong passwords, as they are recorded."""
    AccessAttempt.objects.create(
        username=name, ip_address=address, user_agent=agent, failures_since_start=count, attempt_time=timezone.now()
    )


def test_name_is_locked_from_the_address_alone() -> None:
    assert [log_in("wrong") for _ in range(PAIR)] == [200] * (PAIR - 1) + [429]
    assert log_in("right") == 429
    assert log_in("right", ELSEWHERE) == 302


def test_other_browser_is_no_way_round() -> None:
    for n in range(PAIR):
        failed(1, agent=f"browser {n}")
    assert log_in("right") == 429


def test_address_may_not_try_name_after_name() -> None:
    for n in range(ADDRESS):
        failed(1, name=f"user{n}")
    assert log_in("right") == 429
    assert log_in("right", ELSEWHERE) == 302


def test_name_may_not_be_tried_from_everywhere() -> None:
    for n in range(NAME):
        failed(1, address=str(ipaddress.IPv4Address(0x0A000000 + n)))
    assert log_in("right", ELSEWHERE) == 429


def test_nobody_is_locked_out_of_where_they_log_in() -> None:
    assert log_in("right") == 302
    for n in range(NAME):
        failed(1, address=str(ipaddress.IPv4Address(0x0A000000 + n)))
    assert log_in("right") == 302
    assert log_in("wrong") == 200

    AccessLog.objects.update(attempt_time=timezone.now() - KNOWN - timedelta(minutes=1))
    assert log_in("right") == 429


def test_lock_ends() -> None:
    failed(PAIR)
    AccessAttempt.objects.update(attempt_time=timezone.now() - COOL_OFF)
    assert log_in("right") == 302


def test_success_forgives_only_what_was_its_own() -> None:
    failed(ADDRESS - 1, name="other")
    assert log_in("right") == 302
    assert AccessAttempt.objects.get().username == "other"


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("", "0.0.0.0"),
        ("unix:", "0.0.0.0"),
    ],
)
def test_address(given: str, counted: str) -> None:
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=given)) == counted


def test_own_password_is_not_guessed_at_an_open_session(ada: User) -> None:
    client = Client(REMOTE_ADDR=HOME)
    client.force_login(ada)
    address = reverse("admin:password_change")

    def change(old: str) -> Any:
        return client.post(
            address, {"old_password": old, "new_password1": "n3w-Pass-w0rd", "new_password2": "n3w-Pass-w0rd"}
        )

    assert [change("wrong").status_code for _ in range(PAIR)] == [200] * (PAIR - 1) + [429]
    assert change("right").status_code == 429

    AccessAttempt.objects.all().delete()
    assert change("right").headers["Location"] == reverse("admin:password_change_done")
    ada.refresh_from_db()
    assert ada.check_password("n3w-Pass-w0rd")
    assert client.get(address).status_code == 200
