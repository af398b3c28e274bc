"""schemathesis against a live system: examples, boundary values, generated data (right and wrong), and sequences."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from bson import ObjectId

from queues.sqs import get_gateway
from queuesite.foundation.databases import database
from tests.support.live import Live
from tests.support.processes import ROOT
from tests.support.waiting import eventually

#: Number of generated requests for each operation, and of sequences, in addition to examples and boundary values. A
#: number and not a time, so that a busy machine tries the same.
EXAMPLES = 4
#: Most seconds that it may take: ten times what a quiet machine needs.
LONGEST = 600
#: CI always tries the same data; SCHEMATHESIS_SEED tries other data.
SEED = os.environ.get("SCHEMATHESIS_SEED", "20261124")

Reached = dict[tuple[str, str], Counter[int]]


def prepare(system: Live, client: httpx.Client) -> dict[str, str]:
    """Create the queues of the examples, and a job, an attempt and two failures, which no operation creates.

    Returns the ids of the last three.
    """
    get_gateway().create_queue(system.made_by_others, {})
    for name in ("orders", "invoices"):
        client.post("/queues", json={"name": name, "handler": "recorder"}).raise_for_status()
    client.post("/queues/orders/messages", json={"messages": [{"body": "one"}]}).raise_for_status()
    eventually(lambda: client.get("/jobs?status=completed").json()["items"], 60, "a job is completed")
    now = datetime.now(UTC)
    documents = [
        {
            "_id": ObjectId(),
            "queueUrl": "http://sqs/orders",
            "queueId": ObjectId(),
            "queueName": "orders",
            "fingerprint": fingerprint,
            "exceptionType": "KeyError",
            "place": "shop_handlers.py:12 in process_order",
            "message": "'customer'",
            "traceback": "Traceback (most recent call last): …",
            "count": 1,
            "firstSeenAt": now,
            "lastSeenAt": now,
        }
        for fingerprint in ("to-be-read", "to-be-deleted")
    ]
    database().client[system.database]["failures"].insert_many(documents)
    read, deleted = (str(document["_id"]) for document in documents)
    attempt = {
        "_id": ObjectId(),
        "messageId": "a-message",
        "queueUrl": "http://sqs/orders",
        "queueId": ObjectId(),
        "queueName": "orders",
        "jobId": ObjectId(),
        "worker": "w-1",
        "handler": "recorder",
        "handlerVersion": "1",
        "receiveCount": 1,
        "startedAt": now,
        "waited": 0.1,
        "seconds": 0.1,
        "outcome": "failed",
        "errorType": "KeyError",
        "error": "'customer'",
        "fingerprint": "to-be-read",
        "deadLetter": False,
        "traceId": None,
        "log": "",
    }
    database().client[system.database]["attempts"].insert_one(attempt)
    return {"FAILURE_TO_READ": read, "FAILURE_TO_DELETE": deleted, "ATTEMPT_TO_READ": str(attempt["_id"])}


def run(system: Live, token: str, directory: Path, prepared: dict[str, str], *phases: str) -> Reached:
    """Run these phases of it. Returns the statuses of each operation. Raises `AssertionError` with its output."""
    report, output = directory / "report.har", directory / "output"
    options = {
        "--header": f"Authorization: Bearer {token}",
        "--phases": ",".join(phases),
        "--max-examples": str(EXAMPLES),
        # Two workers would hit a bug of CPython 3.11: its parser, which hypothesis calls, is not thread-safe ("AST
        # constructor recursion depth mismatch").
        "--workers": "1",
        "--seed": SEED,
        "--report": "har",
        "--report-har-path": str(report),
    }
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(ROOT / "tests" / "support" / "schemathesis.toml"),
        "run",
        f"{system.api}/openapi.json",
        "--continue-on-failure",
        "--no-color",
        *(part for option in options.items() for part in option),
    ]
    with output.open("wb") as out:
        running = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **prepared}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: _ended(running, system), LONGEST, "schemathesis has ended")
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, output.read_text()[-20_000:]
    schema = httpx.get(f"{system.api}/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()
    return _reached(schema, json.loads(report.read_text()))


def _ended(running: subprocess.Popen[bytes], system: Live) -> bool:
    system.keep_worker()  # one of the operations drains it
    return running.poll() is not None


def _reached(
    schema: dict[str, dict[str, dict[str, object]]], report: dict[str, dict[str, list[dict[str, dict[str, object]]]]]
) -> Reached:
    # The address with fewer parameters is the more specific one: `bulk` in /messages/bulk is not a message.
    paths = sorted(schema["paths"], key=lambda path: path.count("{"))
    patterns = [(re.compile(re.sub(r"\\{[^/]+\\}", "[^/]+", re.escape(path))), path) for path in paths]
    found: Reached = defaultdict(Counter)
    for entry in report["log"]["entries"]:
        asked = urlsplit(str(entry["request"]["url"])).path
        path = next((path for pattern, path in patterns if pattern.fullmatch(asked)), None)
        method = str(entry["request"]["method"])
        if path is not None and method.lower() in schema["paths"][path]:
            found[method, path][int(str(entry["response"]["status"]))] += 1
    for path, item in schema["paths"].items():
        for method in item:
            found.setdefault((method.upper(), path), Counter())
    return found
