"""`manage.py sqs` of what was done: attempts, jobs, failures, logs, top."""

from __future__ import annotations

import io
import json
import time
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from jobs import failures as kinds
from jobs.attempts import AttemptOutcome
from jobs.management import sqs_records, sqs_top
from jobs.models import Worker
from jobs.repositories import failures
from queuesite.foundation.databases import collection
from tests.support import records

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

EVIL = "\x1b]0;owned\x07 red"


def sqs(*args: object) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("sqs", *map(str, args), stdout=out)
    return out.getvalue()


def test_attempts() -> None:
    orders = records.define("orders")
    records.attempted(orders, "m-failed", error=EVIL, log="line")
    records.attempted(orders, "m-done", outcome=AttemptOutcome.DONE, error="", error_type="", fingerprint=None)
    table = sqs("attempts", "--queue", "orders")
    assert "m-failed" in table
    assert "m-done" in table
    assert "\x1b" not in table
    (found,) = json.loads(sqs("attempts", "--outcome", "failed", "--text", "OWNED", "--json"))
    assert (found["messageId"], found["log"], found["fingerprint"], found["waited"]) == (
        "m-failed",
        "line",
        "f" * 32,
        3.5,
    )
    assert "m-" not in sqs("attempts", "--until", "2026-01-01 00:00")
    assert "m-done" in sqs("attempts", "--since", "2026-01-01T00:00Z")
    with pytest.raises(CommandError, match="expected 24 hexadecimal digits") as caught:
        sqs("attempts", "--job", "x")
    assert caught.value.returncode == 2


def test_jobs_and_failures() -> None:
    orders = records.define("orders")
    job = records.running(orders).job_id
    now = time.monotonic()
    for reason in (None, "not ready"):
        kind = kinds.FailureGroup("shop.Retry", "shop.f", EVIL, "", now, now, retry_reason=reason)
        failures.add([failures.Seen(orders, kind)])
    assert str(job) in sqs("jobs", "--queue", "orders")
    assert [one["id"] for one in json.loads(sqs("jobs", "--status", "running", "--json"))] == [str(job)]
    assert json.loads(sqs("jobs", "--status", "failed", "--json")) == []
    assert json.loads(sqs("jobs", "--until", "2026-01-01 00:00", "--json")) == []
    table = sqs("failures", "--queue", "orders")
    assert "Retry: not ready" in table
    assert "\x1b" not in table
    (retry,) = json.loads(sqs("failures", "--kind", "retry", "--json"))
    assert (retry["retryReason"], retry["count"], len(retry["fingerprint"])) == ("not ready", 1, 32)


def test_logs_come_in_their_order_and_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = records.define("orders")
    for number in range(4):
        records.attempted(orders, f"m{number}", age=100.0 - number, log=f"first line of {number}\n{EVIL}")
    shown = sqs("logs", "orders", "--lines", 2)
    assert [line.split()[3] for line in shown.splitlines() if " failed " in line] == ["m2", "m3"]
    assert "    first line of 3\n" in shown
    assert "\x1b" not in shown
    rounds = iter(["new", None])

    def sleep(seconds: float) -> None:
        name = next(rounds)
        if name is None:
            raise KeyboardInterrupt
        records.attempted(orders, name, log="later")

    monkeypatch.setattr(sqs_records, "time", SimpleNamespace(sleep=sleep))
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("sqs", "logs", "orders", "--follow", "--lines", "1", stdout=out)
    assert caught.value.returncode == 130
    assert [line.split()[3] for line in out.getvalue().splitlines() if " failed " in line] == ["m3", "new"]
    with pytest.raises(CommandError, match="no queue"):
        sqs("logs", "none")


def test_top_shows_queues_at_work_first() -> None:
    for number in range(3):
        records.define(f"waiting-{number}", depth_visible=10 + number)
    busy = records.define("busy")
    records.register()
    told = {"queueName": busy.name, "processed": 7, "failed": 2, "retried": 4, "inFlight": 5, "pid": "1", "memory": 1}
    collection(Worker).update_one({"_id": "w1"}, {"$set": {"consumers": [told, told]}})
    shown = sqs("top", "--limit", 3)
    rows = [line.split() for line in shown.splitlines()[3:]]
    assert [row[0] for row in rows] == ["busy", "waiting-2", "waiting-1"]
    assert rows[0][-6:] == ["10", "2", "14", "4", "8", "0"]
    assert "visible 33" in shown.splitlines()[0]
    assert sqs_top.running_by_queue([]) == {}
