"""Queues by the API."""

from __future__ import annotations

import pytest

from queues import services
from tests.support.api import Api, everything

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]


@pytest.fixture
def api() -> Api:
    return everything()


def test_create_read_change_delete(api: Api) -> None:
    made = api.post("/queues", {"name": "orders", "concurrency": 3, "handlerOptions": {}})
    assert made.status == 201
    assert made.headers["Location"] == "/api/v1/queues/orders"
    assert made.json["concurrency"] == 3
    assert made.json["dlqUrl"]
    assert made.json["assignments"] == []
    assert made.json["lastJob"] is None
    assert made.json["createdAt"].endswith("Z")
    assert api.get("/queues/orders").ok() == made.json

    changed = api.patch("/queues/orders", {"priority": 7, "paused": True}).ok()
    assert (changed["priority"], changed["paused"], changed["concurrency"]) == (7, True, 3)
    assert services.get("orders").priority == 7

    gone = api.delete("/queues/orders")
    assert (gone.status, gone.text) == (204, "")
    api.get("/queues/orders").problem(404)
