"""Logs: events with fields, for people or for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from queuesite.foundation.config import get_config
from queuesite.foundation.logs import bind, configure, configure_from_django, get_logger


@pytest.fixture
def restored() -> Iterator[None]:
    """The logging of the test run, as it was, once nothing is captured any more."""
    yield
    structlog.contextvars.clear_contextvars()
    configure(get_config().log_level, get_config().log_format)


@pytest.fixture
def written(restored: None, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What went to stderr; nothing goes to stdout, which is for results."""

    def read() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return read


Written = Callable[[], str]


def lines(written: Written) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written().splitlines()]


def test_json_has_an_event_a_line(written: Written) -> None:
    configure("INFO", "json")
    bind(role="worker", worker="host-1-abc")

    get_logger("jobs.worker").info("job_completed", queue="zażółć", count=3, at=object)
    get_logger("jobs.worker").debug("unseen")

    [event] = lines(written)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "job_completed",
        "level": "info",
        "source": "jobs.worker",
        "role": "worker",
        "worker": "host-1-abc",
        "queue": "zażółć",
        "count": 3,
        "at": "<class 'object'>",
    }


def test_traceback_is_data_in_json(written: Written) -> None:
    configure("INFO", "json")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        get_logger("x").exception("failed")

    [event] = lines(written)
    assert event["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_libraries_log_through_the_same(written: Written) -> None:
    configure("INFO", "json")

    logging.getLogger("some.library").warning("careful, %s", "you")

    [event] = lines(written)
    assert (event["event"], event["level"], event["logger"]) == ("careful, you", "warning", "some.library")


@pytest.mark.parametrize("name", ["botocore", "urllib3", "pymongo.connection", "django-q"])
def test_libraries_do_not_bury_our_own_events(written: Written, name: str) -> None:
    configure("DEBUG", "json")

    logging.getLogger(name).info("request sent")
    logging.getLogger(name).error("broken")
    get_logger("ours").debug("seen")

    assert [event["event"] for event in lines(written)] == ["broken", "seen"]


@pytest.mark.parametrize(("level", "seen"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_level_is_the_least_severe_shown(written: Written, level: str, seen: int) -> None:
    configure(level, "json")
    log = get_logger("x")

    for say in (log.debug, log.info, log.warning, log.error):
        say("event")
    for say_standard in (logging.debug, logging.info, logging.warning, logging.error):
        say_standard("standard")

    assert len(lines(written)) == 2 * seen


def test_console_is_for_people(written: Written) -> None:
    configure_from_django({"level": "INFO", "fmt": "console"})

    get_logger("x").info("job_completed", queue="orders")

    text = written()
    assert "job_completed" in text
    assert "queue=orders" in text
    assert "\x1b[" not in text  # no colours where there is no terminal


@pytest.mark.parametrize("fmt", ["console", "json"])
@pytest.mark.parametrize("name", ["ours", "django.request"])
def test_tracebacks_name_the_place_and_no_value(written: Written, fmt: str, name: str) -> None:
    configure("INFO", fmt)

    def log_in(password: str) -> None:
        raise ValueError("no such user")

    try:
        log_in("-".join(["hunter", "2"]))
    except ValueError:
        if name == "ours":
            get_logger(name).exception("fault")
        else:
            logging.getLogger(name).exception("fault")

    shown = written()
    assert "log_in" in shown
    assert "no such user" in shown
    assert "hunter-2" not in shown


@pytest.mark.parametrize(("status", "kept"), [(403, False), (400, False), (500, True)])
def test_refusal_has_no_traceback(status: int, kept: bool, written: Callable[[], str]) -> None:
    configure("INFO", "console")
    try:
        raise PermissionError("not for you")
    except PermissionError:
        logging.getLogger("django.request").error("Refused: /x", exc_info=True, extra={"status_code": status})

    told = written()
    assert "Refused: /x" in told
    assert ("Traceback" in told) == kept
