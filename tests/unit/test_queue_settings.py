"""A queue's settings are declared once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from jobs.consumer.settings import QueueSettings
from queues.models import Queue
from queues.settings import ASKED, SETTINGS, Setting
from queuesite.foundation import documents
from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure
from tests.support.processes import ROOT

EACH = pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))


@pytest.fixture(scope="module")
def made_up() -> dict[str, Any]:
    """Where a setting is found that only the declaration was given."""
    path = os.pathsep.join([str(ROOT), str(ROOT / ".ci")])
    program = [sys.executable, "-m", "tests.support.made_up_setting"]
    environ = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(program, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestASettingThatIsDeclared:
    @pytest.mark.parametrize("schema", ["QueueIn", "QueuePatch"])
    def test_is_taken_by_the_api(self, made_up: dict[str, Any], schema: str) -> None:
        found = made_up["schemas"][schema]
        assert found["anyOf"] == [{"type": "integer", "minimum": 3, "maximum": 77}, {"type": "null"}]
        assert found["description"] == "failed attempts an hour; null: any number"

    def test_is_given_by_the_api(self, made_up: dict[str, Any]) -> None:
        assert made_up["schemas"]["QueueOut"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]

    def test_is_an_option_of_the_command_line(self, made_up: dict[str, Any]) -> None:
        assert made_up["argument"] == 5

    def test_is_in_the_admin_s_form(self, made_up: dict[str, Any]) -> None:
        assert "error_budget" in made_up["fieldsets"]
        assert made_up["field"] == (
            "failed attempts an hour; 3 to 77; empty (the default): any number; running consumers follow within seconds"
        )

    def test_is_stored_and_judged(self, made_up: dict[str, Any]) -> None:
        assert made_up["column"] == {"errorBudget": 5}
        assert made_up["malformed"] == [3, 77]
        assert made_up["validation"] == "error budget 78 is out of range: expected a whole number from 3 to 77"

    def test_reaches_the_consumer(self, made_up: dict[str, Any]) -> None:
        assert made_up["followed"]
        assert "error budget 78: expected a whole number from 3 to 77" in made_up["consumer"]

    def test_is_in_the_docs(self, made_up: dict[str, Any]) -> None:
        [row] = made_up["docs"]
        assert "3 to 77" in row
        assert "failed attempts an hour" in row


@EACH
def test_declaration_is_complete(setting: Setting) -> None:
    assert setting.help
    assert setting.group
    assert (setting.limits is not None) == (setting.type is int)
    assert (setting.max_length is not None) == (setting.type is str)
    assert (setting.empty is not None) == setting.optional
    setting.check(setting.default)
    setting.check(setting.declared_default())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("handler", "log"),
        ("handler_options", "none"),
        ("timeout", "the handler's own limit, if it has one"),
        ("concurrency", "4 messages (DEFAULT_CONCURRENCY)"),
        ("max_consumers", "1 consumer"),
        ("pool", "any worker"),
        ("priority", "0"),
        ("visibility_timeout", "30 seconds"),
        ("max_receive_count", "5 receives"),
        ("sample_one_in", "1 % of successful attempts (SAMPLE_ONE_IN)"),
        ("failing_percent", "10 % (HEALTH_FAILING_PERCENT)"),
        ("max_message_age", "1 hour 30 minutes (HEALTH_MAX_MESSAGE_AGE_SECONDS)"),
        ("max_backlog", "no limit (HEALTH_MAX_BACKLOG)"),
        ("notify_of", "urgent (ALERT_ON)"),
        ("notify_after", "1 minute (ALERT_AFTER_SECONDS)"),
    ],
)
def test_default_in_words(configure: Configure, name: str, words: str) -> None:
    configure(default_concurrency=4, health_max_message_age_seconds=5_400)
    assert SETTINGS[name].default_now == words


@pytest.mark.parametrize(("value", "words"), [(0, "no success"), (1, "all success"), (3, "33.3333 % of success")])
def test_sampling_in_words(value: int, words: str) -> None:
    assert SETTINGS["sample_one_in"].said(value).startswith(words)


@EACH
def test_configuration_that_it_names_exists(setting: Setting) -> None:
    for name in (setting.capped_by, setting.default_from, setting.empty_from):
        assert name is None or name in Config.model_fields
    if setting.capped_by is not None:
        assert setting.limits is not None
        highest = [getattr(one, "le", None) for one in Config.model_fields[setting.capped_by].metadata]
        assert setting.limits[1] in highest


def test_names_in_mongodb_are_those_of_the_api() -> None:
    assert SETTINGS["max_receive_count"].field_name == "maxReceiveCount"
    columns = documents.columns(Queue, dict.fromkeys(SETTINGS))
    assert list(columns) == [setting.field_name for setting in SETTINGS.values()]


def test_what_has_commands_of_its_own_is_not_asked_for() -> None:
    assert set(SETTINGS) - set(ASKED) == {"paused"}


class TestChecks:
    @pytest.mark.parametrize("value", [0, 43_201, True, 2.5, "30", None])
    def test_number(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="expected a whole number from 1 to 43200") as caught:
            SETTINGS["visibility_timeout"].check(value)
        assert caught.value.field == "visibility_timeout"

    def test_optional_number(self) -> None:
        SETTINGS["timeout"].check(None)
        with pytest.raises(InvalidInput):
            SETTINGS["timeout"].check(0)

    @pytest.mark.parametrize("value", ["", "g p u", "x" * 51, "gpu\n", "größe", 3, True])
    def test_text_with_a_pattern(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="expected 1 to 50 letters, digits, hyphens and underscores") as caught:
            SETTINGS["pool"].check(value)
        assert caught.value.field == "pool"
        assert str(value)[:10].split("\n")[0] in str(caught.value)
        SETTINGS["pool"].check("gpu-2_b")

    @pytest.mark.parametrize("value", ["", "x" * 101, "two\nlines", None])
    def test_text(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="expected 1 to 100 printable characters"):
            SETTINGS["handler"].check(value)

    @pytest.mark.parametrize(
        "value", ["", "failing, stuck", "failling", "healthy", "failing,", "none,all", "all,none", 3]
    )
    def test_words(self, value: object) -> None:
        with pytest.raises(
            InvalidInput, match=r"expected one or several of urgent, all, vanished, .*, or none alone"
        ) as caught:
            SETTINGS["notify_of"].check(value)
        assert caught.value.field == "notify_of"
        SETTINGS["notify_of"].check("failing,too-many-dead-letters")
        SETTINGS["notify_of"].check("none")

    @pytest.mark.parametrize("value", [None, 0, 1, "no"])
    def test_boolean(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="expected true or false"):
            SETTINGS["paused"].check(value)


class TestConsumersSettings:
    RUNS = QueueSettings(name="orders", queue_url="u", dlq_url=None, fifo=False)

    @EACH
    def test_a_change_is_noticed_if_it_is_followed(self, setting: Setting) -> None:
        other: Any = {"x": 1} if setting.type is dict else "other" if setting.type is str else 7
        assert (replace(self.RUNS, **{setting.name: other}) != self.RUNS) is setting.followed

    @pytest.mark.parametrize("name", ["concurrency", "visibility_timeout", "max_receive_count", "timeout"])
    @pytest.mark.parametrize("value", [0, True, "3", 1.5])
    def test_number_that_no_run_can_work_with(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=r"queue 'orders' has .*: expected a whole number from 1 to .*; correct"):
            replace(self.RUNS, **{name: value}).check()

    def test_limits_of_this_machine_are_not_asked(self) -> None:
        replace(self.RUNS, concurrency=1_000).check()

    def test_are_those_of_the_queue(self) -> None:
        chosen: dict[str, Any] = {"concurrency": 3, "handler": "x", "timeout": 9, "priority": 2}
        found = QueueSettings.of(Queue(name="orders", **chosen))
        assert {name: getattr(found, name) for name in chosen} == chosen
