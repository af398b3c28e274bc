"""Alert rules and dashboard: every metric and label that they name is one that the exporter serves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jobs import histogram, metrics
from jobs.repositories import leases, masters, throughput
from jobs.repositories.throughput import Row
from queues.health.rules import PROBLEMS
from queuesite.foundation.databases import database_clock
from tests.support import records
from tests.support.processes import ROOT

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "queuesite.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
#: What Grafana puts into queries.
VARIABLES = {"$queue": "orders", "$__rate_interval": "5m"}


def panels() -> list[dict[str, Any]]:
    return [one for one in json.loads(DASHBOARD.read_text())["panels"] if one["type"] != "row"]


def queries() -> list[str]:
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    return found


def texts_with_labels() -> Iterator[tuple[str, str]]:
    """Each query with what is shown of its results."""
    for alert in ALERTS:
        yield alert["expr"], alert["annotations"]["summary"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: it is in Debian's package prometheus")
        pytest.skip("promtool is missing")
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=110, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def served(db: None, mongo: None) -> dict[str, set[str]]:
    """The names of all samples of a system at work, each with its labels."""
    orders = records.define("orders", paused=True, depth_visible=1)
    records.register("w1", capacity=5)
    leases.acquire("m1", 30)
    masters.heartbeat("m1", "host", 1, {"default": 3})
    durations, waits = histogram.counts([0.1]), histogram.counts([0.1], histogram.WAIT_BOUNDS)
    minute = database_clock.now() - timedelta(minutes=1)
    purposes = {"receive": 1}
    throughput.add(
        [Row(orders.id, orders.name, minute, 1, requests=1, durations=durations, purposes=purposes, waits=waits)]
    )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_and_label_is_served(served: dict[str, set[str]]) -> None:
    for query, shown in texts_with_labels():
        names = set(re.findall(r"\bqueuesite_\w+", query))
        assert names, query
        assert names <= served.keys(), query
        for name, selector in re.findall(r"(queuesite_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= served[name], query
        labels = set[str]().union(*(served[name] for name in names))
        grouped = {one.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for one in group.split(",")}
        assert grouped - {""} <= labels, query
        # What is shown of a result is what its outermost grouping leaves.
        assert set(re.findall(r"\{\{(?:\s*\$labels\.)?\s*(\w+)\s*\}\}", shown)) <= grouped, query


def test_every_metric_of_the_page_is_served(served: dict[str, set[str]]) -> None:
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in served}
    named = set(re.findall(r"\bqueuesite_\w+", OPERATIONS))
    assert named <= families


def test_each_problem_has_its_alert() -> None:
    named = {problem for alert in ALERTS for problem in re.findall('problem="([^"]+)"', alert["expr"])}
    assert named == {health.value for health in PROBLEMS}


def test_the_dashboard_can_be_narrowed_to_queues() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "queue"]
    ids = [one["id"] for one in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"


def test_prometheus_understands_rules_and_queries(tmp_path: Path) -> None:
    recorded = [{"record": f"panel_{place}", "expr": query} for place, query in enumerate(queries())]
    dashboard = tmp_path / "dashboard.yml"
    dashboard.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", RULES, dashboard)


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    for source in (RULES, ROOT / "tests" / "support" / "alerts_test.yml"):
        (tmp_path / source.name).write_text(source.read_text())
    promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_each_alert_says_what_to_do() -> None:
    sections = re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"critical", "warning"}
