"""What a browser test needs to be there, made by the API."""

from __future__ import annotations

from typing import Any

import httpx
from playwright.sync_api import Page

from tests.support.browser import PATIENCE
from tests.support.waiting import eventually


def create(api: httpx.Client, name: str, **settings: Any) -> None:
    """A queue of the test handler's."""
    made = api.post("/queues", json={"name": name, "handler": "recorder", **settings})
    assert made.status_code == 201, made.text


def send(api: httpx.Client, name: str, *bodies: Any) -> None:
    """Messages with these bodies."""
    sent = api.post(f"/queues/{name}/messages", json={"messages": [{"body": body} for body in bodies]})
    assert sent.is_success, sent.text


def wait_for_dead_letters(api: httpx.Client, name: str, count: int) -> None:
    """Wait until a queue has so many dead letters."""
    eventually(lambda: api.get(f"/queues/{name}/size").json()["deadLetters"] == count, PATIENCE / 1000, "dead letters")


def finished_job(api: httpx.Client, name: str) -> str:
    """The id of a job that has handled a message of a queue that is made for it."""
    create(api, name)
    send(api, name, "one")

    def found() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = api.get("/jobs", params={"queue": name, "status": "completed"}).json()["items"]
        return jobs

    (job,) = eventually(found, PATIENCE / 1000, f"a job of {name} is completed")
    return str(job["id"])


def show_columns(page: Page, listing: str, *columns: str) -> None:
    """Have a list show these columns too."""
    page.locator(f"#columns-{listing} summary").click()
    for column in columns:
        page.locator(f"#columns-{listing}").get_by_label(column, exact=True).check()
    page.get_by_role("button", name="Show these").click()
