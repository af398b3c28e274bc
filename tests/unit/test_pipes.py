"""The pipe between a worker and a consumer, of which the worker's end never waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from queuesite.foundation.pipes import READ_BYTES, Channel, Endpoint, pair

#: More than a socket's buffers take.
LARGE = "x" * 4_000_000


@dataclass(frozen=True)
class Setting:
    value: str


@dataclass(frozen=True)
class Order:
    value: str


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Endpoint]]:
    channel, endpoint = pair()
    yield channel, endpoint
    channel.close()
    endpoint.close()


def test_messages_go_both_ways_in_order(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends
    channel.send(Order("a"))
    channel.send(Setting("b"))
    assert [endpoint.recv(), endpoint.recv()] == [Order("a"), Setting("b")]
    assert not endpoint.poll()
    endpoint.send("c")
    endpoint.send({"d": [1]})
    assert channel.receive() == ["c", {"d": [1]}]
    assert channel.receive() == []


def test_a_reader_that_stands_still_does_not_hold_up_the_sender(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends
    channel.send(Order(LARGE))
    channel.send(Setting("after it"))
    assert channel.waiting == 2
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend([endpoint.recv(), endpoint.recv()]), daemon=True)
    reader.start()
    while channel.waiting:
        channel.flush()
    reader.join(45)
    assert got == [Order(LARGE), Setting("after it")]


def test_of_each_kind_only_the_newest_waits(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends
    channel.send(Setting(LARGE))  # part of it has gone, and the rest must follow
    for n in range(100):
        channel.send(Setting(f"{n}"))
        channel.send(Order(f"{n}"))
    assert channel.waiting == 3
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend(endpoint.recv() for _ in range(3)), daemon=True)
    reader.start()
    while channel.waiting:
        channel.flush()
    reader.join(45)
    assert got == [Setting(LARGE), Setting("99"), Order("99")]


def test_part_of_a_message_is_kept_until_the_rest_comes(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends
    writer = threading.Thread(target=endpoint.send, args=(LARGE,), daemon=True)
    writer.start()  # it blocks in the middle
    received: list[object] = []
    reads = 0
    while not received:
        received = channel.receive()
        reads += 1
    assert received == [LARGE]
    assert reads > 1
    writer.join(45)


def test_one_call_reads_no_more_than_its_share(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends

    def send() -> None:
        for _ in range(100):
            endpoint.send("y" * 100_000)

    flood = threading.Thread(target=send, daemon=True)
    flood.start()
    received: list[str] = []
    while len(received) < 100:
        some = channel.receive()
        assert sum(map(len, some)) <= READ_BYTES + 300_000
        received += some
    flood.join(45)


def test_the_end_is_noticed_at_both_ends() -> None:
    channel, endpoint = pair()
    endpoint.send("last words")
    endpoint.close()
    assert channel.receive() == ["last words"]
    assert channel.ended
    channel.send(Order("nobody listens"))
    assert channel.waiting == 0
    channel.close()

    channel, endpoint = pair()
    channel.send(Order("first"))
    channel.close()
    assert endpoint.recv() == Order("first")
    with pytest.raises(EOFError):
        endpoint.recv()
    with pytest.raises(OSError, match=r"[Pp]ipe"):
        endpoint.send("nobody listens")
    endpoint.close()


def test_a_sender_notices_that_nobody_is_there() -> None:
    channel, endpoint = pair()
    endpoint.close()
    channel.send(Order("a"))
    assert channel.ended
    assert channel.waiting == 0
    channel.close()


def test_messages_that_are_no_state_all_go(ends: tuple[Channel, Endpoint]) -> None:
    channel, endpoint = ends
    channel.send(Order(LARGE))
    for value in ("a", "b"):
        channel.send(Order(value), replace=False)
    reader = threading.Thread(target=lambda: received.extend(endpoint.recv().value for _ in range(3)))
    received: list[str] = []
    reader.start()
    while reader.is_alive():
        channel.flush()
    assert received == [LARGE, "a", "b"]
