"""The benchmark's stub of SQS, as boto3 sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from jobs.benchmark.stub import stub


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with stub({"orders": 12, "empty": 0, "other": 3}) as address:
        yield boto3.client(
            "sqs",
            region_name="us-east-1",
            endpoint_url=address,
            aws_access_key_id="stub",
            aws_secret_access_key="stub",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )


def url(client: Any, name: str) -> str:
    return f"{client.meta.endpoint_url}/000000000000/{name}"


def receive(client: Any, name: str, limit: int) -> list[dict[str, Any]]:
    answer = client.receive_message(QueueUrl=url(client, name), MaxNumberOfMessages=limit, WaitTimeSeconds=0)
    return list(answer.get("Messages", ()))


def test_each_queue_gives_out_each_of_its_messages_once_and_no_more_than_asked_for(client: Any) -> None:
    batches = [receive(client, "orders", limit) for limit in (4, 10, 10)]
    assert [len(batch) for batch in batches] == [4, 8, 0]
    messages = [message for batch in batches for message in batch]
    assert [message["Body"] for message in messages] == [str(number) for number in range(12)]
    assert len({message["MessageId"] for message in messages}) == 12
    assert len({message["ReceiptHandle"] for message in messages}) == 12
    assert len(receive(client, "other", 10)) == 3
    assert receive(client, "empty", 10) == []


def test_batches_succeed_whole(client: Any) -> None:
    entries = [{"Id": str(place), "ReceiptHandle": "AQEB"} for place in range(7)]
    for answer in (
        client.delete_message_batch(QueueUrl=url(client, "orders"), Entries=entries),
        client.change_message_visibility_batch(
            QueueUrl=url(client, "orders"), Entries=[{**entry, "VisibilityTimeout": 30} for entry in entries]
        ),
    ):
        assert [entry["Id"] for entry in answer["Successful"]] == [entry["Id"] for entry in entries]
        assert not answer.get("Failed")


def test_what_it_does_not_know_is_refused(client: Any) -> None:
    with pytest.raises(ClientError, match="InvalidAction"):
        client.list_queues()
