"""Documents to models and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson import ObjectId
from django.core.exceptions import FieldDoesNotExist

from queues.models import Queue
from queuesite.foundation.documents import columns, to_document, to_model


def test_document_has_every_field_under_its_name_in_mongodb() -> None:
    document = to_document(Queue(name="orders", queue_url="u", max_consumers=3))

    assert {field.column for field in Queue._meta.concrete_fields} == set(document)
    assert document["queueUrl"] == "u"
    assert document["maxConsumers"] == 3
    assert "queue_url" not in document


def test_model_comes_back_from_its_document() -> None:
    queue = Queue(id=ObjectId(), name="orders", queue_url="u", handler_options={"a": [1]}, created_at=datetime.now(UTC))

    again = to_model(Queue, to_document(queue))

    for field in Queue._meta.concrete_fields:
        assert getattr(again, field.attname) == getattr(queue, field.attname)


def test_model_of_a_document_counts_as_saved_in_mongodb() -> None:
    queue = to_model(Queue, {"_id": ObjectId(), "name": "orders", "queueUrl": "u"})

    assert queue._state.db == "mongo"
    assert not queue._state.adding


def test_field_that_an_older_document_lacks_has_its_default() -> None:
    queue = to_model(Queue, {"_id": ObjectId(), "name": "orders", "queueUrl": "u", "concurrency": 2})

    assert queue.concurrency == 2
    assert (queue.handler, queue.priority, queue.paused, queue.dlq_url) == ("log", 0, False, None)


def test_defaults_are_not_shared() -> None:
    one, other = (to_model(Queue, {"_id": ObjectId(), "name": "orders", "queueUrl": "u"}) for _ in range(2))

    one.handler_options["a"] = 1

    assert other.handler_options == {}


def test_unknown_field_of_a_document_is_left_out() -> None:
    queue = to_model(Queue, {"_id": ObjectId(), "name": "orders", "queueUrl": "u", "fromTheFuture": 1})

    assert not hasattr(queue, "fromTheFuture")


def test_null_is_kept_where_it_stands() -> None:
    queue = to_model(Queue, {"_id": ObjectId(), "name": "orders", "queueUrl": "u", "dlqUrl": None})

    assert queue.dlq_url is None


def test_columns_translates_names() -> None:
    assert columns(Queue, {"queue_url": "u", "name": "n"}) == {"queueUrl": "u", "name": "n"}


def test_columns_refuses_a_name_that_is_no_field() -> None:
    with pytest.raises(FieldDoesNotExist):
        columns(Queue, {"queueUrl": "u"})
