"""`manage.py benchmark`, with few messages: that it measures and leaves nothing behind. Its figures are no test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from queuesite.foundation.databases import database
from tests.support.processes import manage

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: A benchmark takes half a minute, on a quiet machine.
LONGEST = 300.0

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("mongo"), pytest.mark.timeout(2 * LONGEST)]


def figures(*args: str, **environment: str) -> dict[str, Any]:
    done = manage("benchmark", *args, "--json", env=environment, longest=LONGEST)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "removing" in done.stderr, "its steps are told"
    return {figure["what"]: figure for figure in json.loads(done.stdout)["figures"]}


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_next(sqs_client: SQSClient) -> Iterator[None]:
    """A benchmark that failed may have left its queues, which are no fault of the next."""
    yield
    for url in sqs_client.list_queues(QueueNamePrefix="bench-", MaxResults=1_000).get("QueueUrls", ()):
        sqs_client.delete_queue(QueueUrl=url)
    database().client.drop_database(f"{database().name[:50]}_benchmark")


def nothing_is_left(client: SQSClient) -> None:
    assert not client.list_queues(QueueNamePrefix="bench-").get("QueueUrls")
    name = database().name
    assert f"{name[:50]}_benchmark" not in database().client.list_database_names()


def test_speed(sqs_client: SQSClient) -> None:
    found = figures("--messages", "100")
    # A receive and a delete for each ten, and more if a busy machine lets deletes wait no longer for their batches.
    assert 0.19 < found["no-op: requests per message"]["value"] < 2
    for what in (
        "server at no cost: messages/s against the floor",
        "worker: memory",
    ):
        assert found[what]["value"] > 0
        assert found[what]["goal"]
    assert found["no-op: CPU against the floor"]["goal"]  # a hundred messages may cost less than the clock of CPU shows
    assert 0 < found["50 to 350 ms: slots in use"]["value"] <= 1
    assert found["send to handler, warm: median"]["value"] > 0
    assert found["hot queue: most consumers"]["value"] >= 1
    assert found["consumer: new process to first handler, median"]["value"] > 0
    assert found["fairness: a waiting queue is served after (slice 4 s)"]["value"] > 0
    nothing_is_left(sqs_client)


def test_scale(sqs_client: SQSClient) -> None:
    found = figures("--scale", "120", SWEEP_MAX_SECONDS="1")
    assert found["120 queues: database operations of it"]["value"] <= 3
    assert found["1,000 woken at once: all served once after"]["value"] > 0
    nothing_is_left(sqs_client)


def test_pages(sqs_client: SQSClient) -> None:
    found = figures("--pages", "100", "--watch", "1")
    for page in ("overview", "queues", "queues by rate", "failing queues", "a queue", "users"):
        first = found[f"100 queues: first byte of {page}"]
        assert first["value"] > 0
        assert first["goal"] == "at most 300 ms"
    for page in ("overview", "queues"):
        assert found[f"100 queues: a refresh of {page}"]["value"] > 0
        assert found[f"100 queues: {page}, MongoDB's CPU for one viewer"]["goal"] == "at most 15%"
        assert found[f"100 queues: {page}, for ten viewers"]["goal"] == "at most 30%"
    nothing_is_left(sqs_client)


@pytest.mark.parametrize(
    "args",
    [
        ("--messages", "1"),
        ("--scale", "many"),
        ("--concurrency", "0"),
        ("--work", "-1"),
        ("--pages", "9"),
        ("--update", "/"),
    ],
)
def test_wrong_use_is_told_before_anything_is_made(args: tuple[str, ...]) -> None:
    done = manage("benchmark", *args)
    assert done.returncode == 2
    assert args[1] in done.stderr
    assert len(done.stderr.splitlines()) == 1
