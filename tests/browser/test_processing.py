"""Jobs, failures, workers, masters and the site's own pages in a browser, on a live system."""

from __future__ import annotations

import csv
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.steps import create, finished_job, send
from tests.support.live import Live
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

JOBS, FAILURES, WORKERS, MASTERS = (f"/admin/{name}/" for name in ("jobs", "failures", "workers", "masters"))
#: A body and an error's text that would leave a trace where they were taken for HTML.
EVIL = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>"


def test_a_job_is_followed_to_its_end_without_a_reload(visit: Visit, api: httpx.Client, system: Live) -> None:
    create(api, "followed", concurrency=5)
    watcher = visit("viewer")
    watcher.go(JOBS)
    row = watcher.page.get_by_role("row").filter(has=watcher.page.get_by_role("link", name="followed", exact=True))
    expect(watcher.page.get_by_role("heading", name="Jobs").first).to_be_visible()
    expect(row).to_have_count(0)
    watcher.page.evaluate("window.loaded = 'once'")

    send(api, "followed", *({"n": n, "do": {"wait": "go-followed"} if n < 4 else {}} for n in range(50)))
    expect(row).to_contain_text("running")
    # Four of the five slots wait; the others' messages are counted while the job runs.
    expect(row.get_by_role("cell", name="46", exact=True)).to_be_visible()
    worker = visit("viewer")
    worker.go(WORKERS)
    expect(worker.page.get_by_role("list", name="Capacity: 1 of 5 used")).to_be_visible()
    expect(worker.page.get_by_role("region", name="Consumers of")).to_contain_text("followed")
    worker.has_no_barrier()

    (system.directory / "go-followed").touch()
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("50")
    assert watcher.page.evaluate("window.loaded") == "once"

    row.get_by_role("link", name="followed").click()
    expect(watcher.page.get_by_role("img", name="Queued for")).to_be_visible()
    expect(watcher.page.get_by_text("drained: the queue was empty")).to_be_visible()
    watcher.has_no_barrier()
    watcher.go(JOBS)
    watcher.page.locator("#filters").get_by_label("Queue").fill("followed")
    watcher.page.locator("#filters").get_by_label("Status").select_option("completed")
    watcher.page.get_by_role("button", name="Filter").click()
    watcher.page.wait_for_url("**status=completed**")
    expect(row).to_have_count(1)
    with watcher.page.expect_download() as download:
        watcher.page.get_by_role("link", name="Export as CSV").click()
    with Path(download.value.path()).open(newline="") as file:
        assert [(line["queue_name"], line["message_count"]) for line in csv.DictReader(file)] == [("followed", "50")]


def test_a_failure_shows_up_is_looked_at_and_resolved(visit: Visit, api: httpx.Client) -> None:
    create(api, "broken", maxReceiveCount=1, visibilityTimeout=1)
    operator = visit("operator")
    operator.go(f"{FAILURES}?queue=broken")

    send(api, "broken", {"do": {"raise": EVIL}, "html": EVIL})
    link = operator.page.get_by_role("link", name="RuntimeError")
    expect(link).to_be_visible()
    expect(operator.page.get_by_role("img", name="1 in the last 24 hours")).to_be_visible()
    operator.has_no_barrier()
    link.click()

    expect(operator.page.get_by_role("region", name="Traceback")).to_contain_text(EVIL)
    expect(operator.page.get_by_role("region", name="Body")).to_contain_text("onerror")
    assert operator.page.evaluate("window.evil") is None
    operator.has_no_barrier()
    (attempt,) = api.get("/attempts", params={"queue": "broken"}).json()["items"]
    message = f"/admin/attempts/message/{attempt['messageId']}/"
    for path in (message, f"/admin/attempts/{attempt['id']}/"):
        operator.suits_both_screens(path)
    operator.page.go_back()
    operator.page.get_by_role("button", name="Look for it in SQS").click()
    letter = operator.page.get_by_role("region", name="Dead letter ")
    expect(letter).to_contain_text("onerror")
    operator.has_no_barrier()
    expect(operator.page.get_by_role("button", name="Delete it")).to_have_count(0)
    assert operator.page.evaluate("window.evil") is None
    operator.page.get_by_role("button", name="Redrive it").click()
    expect(operator.page.get_by_text("1 dead letter redriven.")).to_be_visible()
    operator.page.wait_for_url(f"**{message}")
    # It fails again. A failure that is recorded after it has been resolved would show up again.
    eventually(
        lambda: [one["count"] for one in api.get("/failures", params={"queue": "broken"}).json()["items"]] == [2],
        60,
        "it has failed again",
    )
    operator.go(f"{FAILURES}?queue=broken")
    link.click()
    queue = "/admin/queues/broken/"
    expect(operator.page.get_by_role("link", name="broken", exact=True)).to_have_attribute("href", queue)

    viewer = visit("viewer")
    viewer.go(operator.page.url.removeprefix(operator.address))
    expect(viewer.page.get_by_role("region", name="Traceback")).to_be_visible()
    expect(viewer.page.get_by_role("button", name="Resolve")).to_have_count(0)

    operator.page.get_by_role("button", name="Resolve").click()
    expect(operator.page.get_by_text("is resolved")).to_be_visible()
    operator.go(f"{FAILURES}?queue=broken")
    expect(operator.page.get_by_text("No failures of broken:")).to_be_visible()


def test_what_a_group_may_not_see_is_refused(visit: Visit) -> None:
    viewer = visit("viewer")
    for path in ("queuesite/token/", "queuesite/token/add/", "auth/user/", "auth/group/add/", "admin/logentry/",
                 "django_q/schedule/", "axes/accessattempt/"):  # fmt: skip
        viewer.is_refused(f"/admin/{path}")
    viewer.go(WORKERS)
    expect(viewer.page.get_by_role("link", name="Drain")).to_have_count(0)
    visit("operator").is_refused("/admin/auth/user/")


@pytest.mark.long  # every page on two screens, with all rules of axe-core
def test_pages_fit_and_have_no_barrier(visit: Visit, api: httpx.Client) -> None:
    job = finished_job(api, "processed")
    visit(None).suits_both_screens("/admin/")
    administrator = visit("administrator")
    for path in (
        JOBS, f"{JOBS}{job}/", FAILURES, WORKERS, f"{WORKERS}capacity/", MASTERS, "/admin/handlers/",
        "/admin/handlers/recorder/", "/admin/attempts/", "/admin/events/", "/admin/find/?q=processed",
        "/admin/password_change/", "/admin/tasks/", "/admin/queuesite/token/", "/admin/queuesite/token/add/",
        "/admin/auth/user/add/", "/admin/auth/user/2/password/", "/admin/auth/user/2/delete/",
        "/admin/auth/user/2/history/",
        "/admin/auth/user/", "/admin/auth/group/", "/admin/admin/logentry/", "/admin/axes/accessattempt/",
        "/admin/auth/user/1/change/", "/admin/auth/group/1/change/", "/admin/django_q/schedule/",
        "/admin/django_q/schedule/1/change/", "/admin/django_q/success/",
    ):  # fmt: skip
        administrator.suits_both_screens(path)


def test_a_token_is_made_shown_once_and_in_the_log(visit: Visit) -> None:
    administrator = visit("administrator")
    administrator.go("/admin/queuesite/token/add/")
    administrator.page.get_by_label("User").select_option("administrator")
    administrator.page.get_by_label("Name").fill("deployment")
    expect(administrator.page.get_by_label("Day")).to_be_hidden()
    administrator.page.get_by_label("Expires").select_option("on a certain day")
    expect(administrator.page.get_by_label("Day")).to_be_visible()
    administrator.page.get_by_label("Expires").select_option("in 30 days")
    administrator.page.get_by_role("button", name="Save", exact=True).click()
    expect(administrator.page.get_by_role("button", name="Copy the token")).to_be_visible()
    expect(administrator.page.get_by_role("region", name="Token")).to_contain_text("qs_")
    administrator.has_no_barrier()
    administrator.page.get_by_role("link", name="All tokens").click()
    expect(administrator.page.get_by_role("row").filter(has_text="deployment")).to_be_visible()
    expect(administrator.page.get_by_role("region", name="Token")).to_have_count(0)
    administrator.go("/admin/admin/logentry/")
    expect(administrator.page.get_by_role("row").filter(has_text="token").first).to_contain_text("administrator")


def test_a_colleague_is_invited_in_one_form_and_logs_in_by_the_link(visit: Visit) -> None:
    administrator = visit("administrator")
    page = administrator.page
    administrator.go("/admin/auth/user/")
    page.get_by_role("link", name="Invite a colleague").click()
    page.get_by_label("User name").fill("colleague")
    page.get_by_label("viewers:").check()
    administrator.has_no_barrier()
    page.get_by_role("button", name="Invite", exact=True).click()
    expect(page.get_by_role("button", name="Copy the link")).to_be_visible()
    administrator.has_no_barrier()
    # Another one, as for a password that was forgotten.
    page.get_by_role("link", name="All users").click()
    page.get_by_role("link", name="colleague", exact=True).click()
    page.get_by_role("link", name="Make a link to set a new password").click()
    administrator.has_no_barrier()
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_role("button", name="Copy the link")).to_be_visible()
    link = page.get_by_role("region", name="Link").inner_text()

    colleague = visit(None)
    colleague.go(link.removeprefix(colleague.address))
    colleague.page.get_by_label("New password", exact=False).first.fill("a-long-password")
    colleague.page.get_by_label("New password", exact=False).last.fill("a-long-password")
    colleague.has_no_barrier()
    colleague.page.get_by_role("button", name="Set the password and log in").click()
    expect(colleague.page.get_by_role("link", name="Queues", exact=True).first).to_be_visible()
    colleague.is_refused("/admin/new-queue/")


def test_a_background_task_is_followed_to_its_end(visit: Visit, api: httpx.Client) -> None:
    viewer = visit("viewer")
    viewer.go("/admin/tasks/")
    create(api, "many")
    asked = api.post("/queues/many/messages/bulk", json={"messages": [{"body": "x"}], "repeat": 500})
    assert asked.status_code == 202, asked.text
    row = viewer.page.get_by_role("row").filter(has_text="500 of 500")
    expect(row).to_contain_text("completed")
    row.get_by_role("link").click()
    expect(viewer.page.get_by_role("region", name="Result")).to_contain_text("500")
    viewer.has_no_barrier()


def test_nobody_is_asked_for_what_nobody_sees_and_a_lost_connection_is_told(visit: Visit) -> None:
    watcher = visit("viewer")
    watcher.page.clock.install()
    watcher.go(MASTERS)
    expect(watcher.page.get_by_text("Leads for")).to_be_visible()
    watcher.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    # Not before: the page's clock goes on by itself too.
    asked: list[str] = []
    watcher.page.on("request", lambda request: asked.append(request.url))
    watcher.page.clock.run_for(60_000)
    assert not asked
    watcher.page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    with watcher.page.expect_response(lambda answer: MASTERS in answer.url):
        watcher.page.clock.run_for(2_000)

    lost = watcher.page.get_by_text("The server does not answer")
    expect(lost).to_be_hidden()
    watcher.disconnect()
    watcher.page.clock.run_for(2_000)
    expect(lost).to_be_visible()
    watcher.connect()
    watcher.page.clock.run_for(2_000)
    expect(lost).to_be_hidden()


def test_a_worker_is_drained_after_a_question(visit: Visit, system: Live) -> None:
    operator = visit("operator")
    operator.go(WORKERS)
    link = operator.page.get_by_role("link", name="Drain")
    name = (link.text_content() or "").removeprefix("Drain…").strip()
    link.click()
    expect(operator.page.get_by_text("No other worker runs")).to_be_visible()
    operator.has_no_barrier()
    operator.page.get_by_role("link", name="Cancel").click()
    link.click()
    operator.page.get_by_role("button", name="Drain").click()

    gone = operator.page.get_by_role("region", name="Departed").get_by_role("row").filter(has_text=name)
    expect(gone).to_contain_text("drained: it was asked to drain")
    operator.has_no_barrier()
    assert system.worker.process.wait(60) == 0
    system.wait_ready()  # for the tests after this one, with another worker
