"""Anything that SQS takes reaches the handler unchanged, and what a handler raises does no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queues.sqs import MAX_MESSAGE_BYTES, OutgoingMessage, get_gateway
from tests.support.cluster import Cluster
from tests.support.system import LONG, create, send
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

BODIES = {
    "1 MiB": "x" * MAX_MESSAGE_BYTES,
    "1 MiB of four bytes each": "\U0001f980" * (MAX_MESSAGE_BYTES // 4),
    "one character": "0",
    "every plane": "".join(chr(plane * 0x10000 + 0x1234) for plane in range(17)),
    "edges of what is allowed": "\t\n\r \ud7ff\ue000\ufffd\U00010000\U0010ffff",
    "direction, combining, joined": "\u202eabc\u202c e\u0301 \U0001f469\u200d\U0001f4bb \u0600\u0628",
    "looks like JSON": '{"do": [1, 2, {"n": null}], "n": 5}',
    "looks like XML": "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a> &amp; ]]>",
    "white space alone": " \n\t ",
}


def test_bodies_arrive_unchanged(cluster: Cluster) -> None:
    queue = create("bodies")
    cluster.ensure(masters=1, workers=1)
    ids = {message_id: name for name, body in BODIES.items() for message_id in send(queue, body)}
    eventually(lambda: set(ids) <= set(cluster.ledger.handled()), LONG, "all were handled")
    for event in cluster.ledger.events("end", queue.name):
        assert event.body == BODIES[ids[event.id]], ids[event.id]
    assert set(cluster.ledger.handled().values()) == {1}


def test_attributes_of_all_types_arrive_unchanged_also_as_a_dead_letter(cluster: Cluster) -> None:
    queue = create("attributes")
    cluster.ensure(masters=1, workers=1)
    attributes: dict[str, dict[str, Any]] = {
        "text": {"DataType": "String", "StringValue": "\U0001f980 \u00fc"},
        "number": {"DataType": "Number", "StringValue": "-1.5e3"},
        "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
        "labelled.text": {"DataType": "String.json", "StringValue": "{}"},
        "labelled.number": {"DataType": "Number.int", "StringValue": "7"},
        "labelled.bytes": {"DataType": "Binary.png", "BinaryValue": b"\x89PNG"},
    }
    body = json.dumps({"do": {"reject": "so that it can be looked at"}})
    get_gateway().send(queue.queue_url, [OutgoingMessage(body, attributes)])
    assert queue.dlq_url is not None
    dlq_url = queue.dlq_url
    (letter,) = eventually(lambda: get_gateway().receive(dlq_url, limit=1, wait=1), LONG, "it is a dead letter")
    assert letter.body == body
    assert {name: value for name, value in letter.attributes.items() if name in attributes} == attributes


def test_exceptions_whose_text_cannot_be_stored_do_no_harm(cluster: Cluster) -> None:
    queue = create("odd-exceptions", max_receive_count=1)
    cluster.ensure(masters=1, workers=1)
    odd = cluster.send(queue, [{"raise": text} for text in ("\ud800", "\x00\x1b[31m", "\U0001f980" * 10_000, "")])
    fine = cluster.send(queue, [{}] * 3)
    cluster.nothing_is_lost()
    assert cluster.dead_letters() == set(odd)
    assert set(cluster.handled()) == set(fine)
