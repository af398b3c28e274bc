"""What `up` says, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import preparation
from queues import services
from tests.conftest import Configure


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("queues.example", "http://queues.example:8123"),
    ],
)
def test_the_address_is_one_that_a_browser_here_reaches(configure: Configure, host: str, address: str) -> None:
    assert preparation.web_address(configure(web_host=host, web_port=8123)) == address


def test_readiness_is_said_once_nothing_is_missing(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["master and 1 worker", "web server"], ["web server"], []])
    monkeypatch.setattr(preparation, "_missing", lambda config: next(answers))
    monkeypatch.setattr(preparation, "_password", lambda config: "in x")
    monkeypatch.setattr(preparation, "REPORT_INTERVAL", 0.0)
    monkeypatch.setattr(preparation, "CHECK_INTERVAL", 0.0)
    said: list[str] = []
    preparation.announce(configure(web_port=8123), said.append)
    assert said == [
        "not ready yet after 0 s: master and 1 worker, web server",
        "not ready yet after 0 s: web server",
        "ready",
        "  admin     http://127.0.0.1:8123/admin/",
        "  user      admin",
        "  password  in x",
        "stop it with Ctrl-C",
    ]


def test_no_demo_queue_is_made_in_an_aws_account(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a queue was made")

    monkeypatch.setattr(services, "create", refuse)
    monkeypatch.setattr(services, "list_queues", list)
    preparation._make_demo_queue(configure(aws_sqs_endpoint="aws"), lambda text: None)


@pytest.mark.django_db
@pytest.mark.parametrize("shown", [True, False], ids=["on a terminal", "in a log"])
def test_the_password_of_a_new_admin_is_said_to_a_person_only(
    configure: Configure, tmp_path: Path, shown: bool
) -> None:
    config = configure(data_dir=tmp_path)
    said: list[str] = []
    preparation._make_admin(config, said.append, shown)
    preparation._make_admin(config, said.append, shown)
    kept = tmp_path / "admin-password"
    assert len(said) == 1
    assert said[0].endswith(f" is kept in {kept}")
    assert (kept.read_text() in said[0]) == shown
