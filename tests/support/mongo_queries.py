"""Counts the operations of all clients of MongoDB, by its own profiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from queuesite.foundation.databases import database


@contextmanager
def counted() -> Iterator[list[str]]:
    """At the end of the block, the list holds the operations on the test's database, each as `operation collection`."""
    operations: list[str] = []
    mongodb = database()
    mongodb.command("profile", 0)
    mongodb.drop_collection("system.profile")
    mongodb.command("profile", 2)
    try:
        yield operations
    finally:
        mongodb.command("profile", 0)
        entries = mongodb["system.profile"].find({"command.profile": {"$exists": False}})
        operations += [f"{entry['op']} {entry['ns'].partition('.')[2]}" for entry in entries]
        mongodb.drop_collection("system.profile")
