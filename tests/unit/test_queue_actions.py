"""Actions on several queues while MongoDB goes away: what was done before is still reported."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pymongo.errors import AutoReconnect

from jobs.admin.queues.actions import ACTIONS, Asked, Report
from queues import services
from queues.models import Queue


def test_what_an_outage_skips_is_reported_beside_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_paused(name: str, paused: bool, note: object) -> bool:
        if name == "second":
            raise AutoReconnect("connection closed")
        return True

    monkeypatch.setattr(services, "set_paused", set_paused)
    report = Report()

    ACTIONS["pause"].run(report, [Queue(name="first"), Queue(name="second")], None, Asked(User(username="anna")))

    assert report.done == {"first": "paused"}
    assert list(report.skipped) == ["second"]
    assert "MongoDB" in report.skipped["second"]
