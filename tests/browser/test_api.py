"""The API from outside: a real web server, a master, a worker, background tasks, and a client that knows HTTP alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from queuesite.api import problems
from tests.support.adopted import Owner
from tests.support.live import Live, shell_environment
from tests.support.processes import ROOT
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.timeout(600)

#: How long anything may take, in seconds: far more than it does, since CI's machine may be busy.
LONG = 60.0

DOCS = (ROOT / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


@pytest.fixture
def client(api: httpx.Client) -> httpx.Client:
    """In place of pytest-django's, which needs no server."""
    return api


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, (answer.status_code, answer.text)
    return answer.json() if answer.content else None


def finished(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The result of a background task."""
    assert answer.status_code == 202, answer.text
    address = httpx.URL(client.base_url).copy_with(path=answer.headers["Location"])

    def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = ok(client.get(address))
        return task if task["state"] in {"completed", "failed"} else None

    task = eventually(ended, LONG, "the task has ended")
    assert task is not None
    assert task["state"] == "completed", task
    result: dict[str, Any] = task["result"]
    return result


def size(client: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ok(client.get(f"/queues/{name}/size"))
    return found


def test_life_of_a_queue(client: httpx.Client, system: Live) -> None:
    # Created, and shown.
    settings = {"handler": "recorder", "visibilityTimeout": 2, "maxReceiveCount": 2, "concurrency": 2}
    made = client.post("/queues", json={"name": "orders", **settings})
    assert made.status_code == 201
    assert client.post("/queues", json={"name": "orders"}).json()["existing"] == made.headers["Location"]

    # Five hundred messages, handled, as jobs and numbers tell.
    numbers = [{"body": {"number": number}} for number in range(500)]
    sent = ok(client.post("/queues/orders/messages", json={"messages": numbers}))
    assert sent["sent"] == 500
    ids = {result["messageId"] for result in sent["results"]}
    eventually(lambda: ids <= set(system.ledger.handled()), LONG, "all messages were handled")

    def done() -> bool:
        jobs = ok(client.get("/jobs", params={"queue": "orders"}))["items"]
        assert {job["status"] for job in jobs} == {"completed"}
        return sum(int(job["messageCount"]) for job in jobs) >= 500

    eventually(done, LONG, "the jobs have counted all messages")
    eventually(lambda: ok(client.get("/stats"))["queues"]["active"] == 0, LONG, "nothing is being processed")
    stats = ok(client.get("/stats"))
    assert (stats["workers"], stats["capacity"]) == (1, 5)
    assert stats["leader"]
    (worker,) = ok(client.get("/workers"))["items"]
    assert worker["alive"]
    assert ok(client.get("/queues/orders"))["lastJob"]["endReason"] == "drained"
    assert len(ok(client.get("/queues/orders/throughput"))["points"]) == 60

    # Paused: what is sent stays. Changed meanwhile, and resumed.
    assert ok(client.post("/queues/orders/pause"))["paused"] is True
    later = ok(client.post("/queues/orders/messages", json={"messages": [{"body": "later"}]}))
    assert "later" in [message["body"] for message in ok(client.post("/queues/orders/messages/peek"))["items"]]
    assert ok(client.patch("/queues/orders", json={"concurrency": 4}))["concurrency"] == 4
    assert later["results"][0]["messageId"] not in system.ledger.handled()
    assert ok(client.post("/queues/orders/resume"))["changed"] is True
    eventually(lambda: later["results"][0]["messageId"] in system.ledger.handled(), LONG, "it is handled once resumed")

    # Poison: one kind is rejected at once, the other fails until SQS gives it up.
    poison = [{"body": {"do": {"reject": "no such customer"}}}, {"body": {"do": {"fail": 100}}}]
    ok(client.post("/queues/orders/messages", json={"messages": poison}))
    eventually(lambda: size(client, "orders")["deadLetters"] == 2, LONG, "both are dead letters")
    letters = ok(client.post("/queues/orders/dead-letters/peek"))["items"]
    assert {letter["rejected"] for letter in letters} == {True, False}
    assert "no such customer" in [letter["reason"] for letter in letters]

    def known() -> bool:
        return any(f["exceptionType"] == "RuntimeError" for f in ok(client.get("/failures?queue=orders"))["items"])

    eventually(known, LONG, "the failure is known")
    failure = next(f for f in ok(client.get("/failures?queue=orders"))["items"] if f["exceptionType"] == "RuntimeError")
    assert "the body asks for it" in ok(client.get(f"/failures/{failure['id']}"))["traceback"]

    # Back to the queue, where they end as dead letters again.
    ok(client.post("/queues/orders/pause"))
    assert finished(client, client.post("/queues/orders/dead-letters/redrive"))["moved"] == 2
    eventually(lambda: size(client, "orders")["deadLetters"] == 0, LONG, "no dead letter is left")
    assert finished(client, client.post("/sync"))["unchanged"] >= 1

    # Gone, with everything.
    assert client.delete("/queues/orders").status_code == 204
    assert client.get("/queues/orders").status_code == 404
    assert client.get("/queues/orders/size").status_code == 404


def test_life_of_a_queue_of_others(client: httpx.Client, system: Live, sqs_client: SQSClient) -> None:
    owner = Owner(sqs_client, system.prefix)
    url = owner.make("theirs", dead="theirs-dead")
    before = {name: owner.attributes(name) for name in ("theirs", "theirs-dead")}

    # It is adopted with what it holds, and processed.
    first = sqs_client.send_message(QueueUrl=url, MessageBody="before")["MessageId"]
    made = client.post("/adopt", json={"queue": owner.arn("theirs"), "name": "adopted", "handler": "recorder"})
    assert made.status_code == 201, made.text
    eventually(lambda: first in system.ledger.handled(), LONG, "what it held was handled")
    second = sqs_client.send_message(QueueUrl=url, MessageBody="after")["MessageId"]
    eventually(lambda: second in system.ledger.handled(), LONG, "what nobody announced was handled")

    # A rejected message goes to its owner's dead-letter queue.
    ok(client.post("/queues/adopted/messages", json={"messages": [{"body": {"do": {"reject": "no"}}}]}))
    eventually(lambda: size(client, "adopted")["deadLetters"] == 1, LONG, "it is a dead letter")

    # Changed, synced and deleted here, it is what it was.
    ok(client.patch("/queues/adopted", json={"concurrency": 3, "priority": 2}))
    assert client.patch("/queues/adopted", json={"visibilityTimeout": 1}).status_code == 422
    assert finished(client, client.post("/sync"))["changed"] == []
    assert client.delete("/queues/adopted").status_code == 204
    assert {name: owner.attributes(name) for name in before} == before
    assert ok(client.get("/jobs", params={"queue": "adopted"}))["items"] == []


def test_metrics_and_health(client: httpx.Client, system: Live) -> None:
    assert ok(client.get("/health/ready"))["status"] == "ready"
    metrics = httpx.get(f"{system.address}/metrics", headers=client.headers).text
    assert "queuesite_workers 1.0" in metrics
    assert 'queuesite_leader{holder="' in metrics
    assert httpx.get(f"{system.address}/metrics").status_code == 401


def test_body_without_a_length_is_bounded(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * (128 << 10)

    answer = client.post("/queues", content=endless(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_clients_cannot_make_the_process_large(client: httpx.Client, system: Live) -> None:
    web = psutil.Process(system.web.pid)
    ok(client.post("/queues", json={"name": "large"}))
    values = b'{"messages": [{"body": [' + b",".join([b'{"a":1}'] * 49_000) + b"]}]}"
    messages = json.dumps({"messages": [{"body": "é" * 500_000} for _ in range(3)]}).encode()
    bodies = [values, messages, b'{"messages": [' + b"{}," * 1_300_000 + b"{}]}", b"[" * (4 << 20)]
    headers = {"Content-Type": "application/json"}

    def post(number: int) -> int:
        return client.post("/queues/large/messages", content=bodies[number % 4], headers=headers).status_code

    post(1)  # what the first large request imports and allocates is there to stay
    before = web.memory_info().rss
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(post, range(24)))

    assert set(statuses) <= {200, 400, 413, 503}
    assert web.memory_info().rss - before < 100 << 20
    assert client.delete("/queues/large").status_code == 204


def test_docs_page_and_its_assets(client: httpx.Client, system: Live) -> None:
    page = client.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) >= 3
    for asset in assets:
        assert asset.startswith("/static/ninja/"), asset
        assert httpx.get(system.address + asset).status_code == 200


@pytest.fixture(scope="module")
def shell(system: Live) -> dict[str, str]:
    """The environment after the page's first example, which makes the token."""
    environment = shell_environment(system)
    # The page is for those who installed the wheel; a clone has no such command.
    script = (
        f'queuesite() {{ "{sys.executable}" manage.py "$@"; }}\n'
        + EXAMPLES[0]
        + 'printf "%s\n%s" "$QUEUESITE" "$TOKEN"'
    )
    done = subprocess.run(
        ["bash", "-ec", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    address, token = done.stdout.split("\n")
    return {**environment, "QUEUESITE": address, "TOKEN": token}


def test_examples_of_the_page_run_as_they_stand(shell: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        assert "CI" not in os.environ, "CI installs curl: see .ci/run"
        pytest.skip("curl is not installed (Debian: apt-get install curl)")
    assert len(EXAMPLES) > 15
    for example in EXAMPLES[1:]:
        done = subprocess.run(
            ["bash", "-ec", example], env=shell, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (example, done.stdout, done.stderr)
        assert done.stderr == ""
        if "/metrics" not in example and "DELETE" not in example:
            assert isinstance(json.loads(done.stdout), dict)


class TestPage:
    """What docs/api.md says of names is what there is."""

    def table(self, mark: str) -> list[list[str]]:
        section = DOCS.split(f"<!-- {mark}:")[1].split("\n\n")[0]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()[3:]]

    def test_problems(self) -> None:
        kinds = {kind for kind in vars(problems).values() if isinstance(kind, problems.Kind)}

        assert {tuple(row) for row in self.table("problems")} == {
            (str(kind.status), f"`{kind.slug}`", kind.meaning) for kind in kinds
        }

    def test_metrics(self, client: httpx.Client) -> None:
        named = {name for row in self.table("metrics") for name in re.findall(r"`(\w+)`", row[0])}

        # Counters are declared without their ending.
        served = {f"{name}_total" if kind == "counter" else name for name, kind in _types(client.get("/metrics").text)}
        assert named == served


def _types(text: str) -> list[tuple[str, str]]:
    return [
        (name.removesuffix("_total"), kind) for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    ]
