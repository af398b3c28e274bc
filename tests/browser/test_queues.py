"""Queues in a browser, on a live system: made, filled, followed, steered, and their dead letters brought back."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from queues.sqs import get_gateway
from tests.browser.conftest import Visit
from tests.browser.steps import create, finished_job, show_columns, wait_for_dead_letters
from tests.support.live import Live
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

QUEUES = "/admin/queues/"
#: A body that would leave a trace where it was taken for HTML.
EVIL = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>"


def page_of(name: str, page: str = "") -> str:
    return f"{QUEUES}{name}/{page and page + '/'}"


def test_a_queue_is_made_filled_and_followed_to_the_end(visit: Visit, system: Live) -> None:
    person = visit()
    page = person.page
    person.go(QUEUES)
    page.get_by_role("link", name="Create a queue").click()
    page.get_by_label("Name").fill("made")
    page.get_by_label("Handler", exact=False).first.select_option("simulate")
    expect(page.get_by_label("failure_rate")).to_be_visible()
    expect(page.get_by_label("url (required)")).to_be_hidden()
    expect(page.get_by_label("High throughput")).to_be_hidden()
    page.get_by_label("Name").press_sequentially(".fifo")
    expect(page.get_by_label("High throughput")).to_be_visible()
    page.get_by_label("Handler", exact=False).first.select_option("http")
    page.get_by_label("Name").fill("ma de")
    page.get_by_label("headers").fill("A: b\nno colon")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Name")).to_be_focused()  # the first of three that are wrong
    expect(page.get_by_label("url (required)")).to_have_accessible_description(re.compile("Field required"))
    expect(page.get_by_label("headers")).to_have_accessible_description(re.compile("line 2: expected name: value"))
    person.has_no_barrier()
    page.get_by_label("Name").fill("made")
    page.get_by_label("Handler", exact=False).first.select_option("recorder")
    expect(page.get_by_label("failure_rate")).to_be_hidden()
    person.has_no_barrier()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("idle", exact=True)).to_be_visible()

    watcher = visit("viewer")
    watcher.go(QUEUES)
    show_columns(watcher.page, "queues", "Newest job", "Last hour")
    row = watcher.page.get_by_role("row").filter(has=watcher.page.get_by_role("link", name="made", exact=True))
    expect(row).to_contain_text("idle")
    watcher.page.evaluate("window.loaded = 'once'")

    page.get_by_role("link", name="Messages", exact=True).click()
    page.get_by_label("Body is").select_option("json")
    page.get_by_label("Body", exact=True).fill('{"do": {"wait": "go-made"}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("not JSON")).to_be_visible()
    page.get_by_label("Body", exact=True).fill('{"do": {"wait": "go-made"}}')
    page.get_by_label("Times").fill("50")
    page.get_by_role("button", name="Show as curl").click()
    expect(page.get_by_role("region", name="Command to send")).to_contain_text('"repeat": 50')
    person.has_no_barrier()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("50 messages sent.")).to_be_visible()

    expect(row).to_contain_text("active")
    expect(row).to_contain_text("running")
    page.get_by_role("navigation", name="Pages of the queue").get_by_role("link", name="Overview").click()
    expect(page.get_by_text("active", exact=True)).to_be_visible()
    (Path(system.directory) / "go-made").touch()
    expect(row).to_contain_text("completed, 50 messages")
    expect(row.get_by_role("img", name="50 processed in the last hour")).to_be_visible()
    assert watcher.page.evaluate("window.loaded") == "once"
    jobs = page.get_by_role("region", name="Newest jobs")
    expect(jobs).to_contain_text("completed")
    expect(jobs).to_contain_text("50")
    expect(page.get_by_role("img", name="Messages per minute")).to_be_visible()
    assert page.evaluate("Chart.getChart(document.querySelector('#depth canvas')).data.labels.length") > 1
    person.has_no_barrier()


def test_queues_are_steered_in_the_list(visit: Visit, api: httpx.Client) -> None:
    create(api, "steered-slow")
    create(api, "steered-other")
    person = visit()
    page = person.page
    person.go(f"{QUEUES}?q=steered&sort=name")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="steered-slow"))

    row.get_by_label("Concurrency of steered-slow").fill("2")
    row.get_by_role("button", name="Set the concurrency of steered-slow").click()
    expect(page.get_by_text("1 concurrency set from 5 to 2: steered-slow.")).to_be_visible()
    expect(page.get_by_label("Concurrency of steered-slow")).to_have_value("2")
    assert api.get("/queues/steered-slow").json()["concurrency"] == 2

    person.go(f"{QUEUES}?q=steered")
    page.get_by_label("Choose all on this page").check()
    expect(page.get_by_label("Choose steered-other")).to_be_checked()
    page.get_by_label("With the chosen queues").select_option("Pause")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_text(re.compile(r"2 paused: .*other"))).to_be_visible()
    expect(row).to_contain_text("paused")

    sent = api.post("/queues/steered-slow/messages", json={"messages": [{"body": n} for n in range(7)]})
    assert sent.is_success, sent.text
    page.get_by_label("Choose steered-slow").check()
    page.get_by_label("Choose steered-other").check()
    page.get_by_label("With the chosen queues").select_option(value="purge")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_role("heading", name="Purge: 2 queues, 7 messages?")).to_be_visible()
    person.has_no_barrier()
    page.get_by_role("button", name="Purge").click()
    expect(page.get_by_text("2 to be purged")).to_be_visible()
    page.get_by_role("link", name="Background task: purge").click()
    expect(page.get_by_text("completed", exact=True)).to_be_visible()
    assert api.get("/queues/steered-slow/size").json()["visible"] == 0

    person.go(page_of("steered-slow", "history"))
    history = page.get_by_role("region", name="History")
    for words in ("To be purged.", "Paused.", "Concurrency set from 5 to 2."):
        expect(history).to_contain_text(words)
    person.has_no_barrier()


def test_what_a_reader_does_survives_updates(visit: Visit, api: httpx.Client) -> None:
    """Scroll, selected text, what was typed, focus, and a click that lasts longer than an update takes."""
    create(api, "read")
    person = visit(viewport={"width": 700, "height": 900}, timezone_id="Asia/Kolkata")
    page = person.page
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(f"{answer.status}") if "?q=read" in answer.url else None)
    person.go(f"{QUEUES}?q=read")
    show_columns(page, "queues", "Priority", "Observed", "Handler", "Worker")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="read", exact=True))

    def change(value: int) -> None:
        assert api.patch("/queues/read", json={"priority": value}).is_success

    table = page.get_by_role("region", name="Queues", exact=True)
    row.get_by_label("Choose read").check()
    row.get_by_label("Concurrency of read").fill("3")
    row.get_by_role("link", name="read", exact=True).evaluate("link => getSelection().selectAllChildren(link)")
    table.evaluate("region => { region.scrollLeft = 60; }")
    change(7)
    expect(row.get_by_role("cell", name="7", exact=True)).to_have_count(1)
    assert table.evaluate("region => region.scrollLeft") == 60
    assert page.evaluate("getSelection().toString()") == "read"
    expect(row.get_by_label("Choose read")).to_be_checked()
    expect(row.get_by_label("Concurrency of read")).to_have_value("3")
    expect(row.get_by_label("Concurrency of read")).to_be_focused()
    while "304" not in asked:  # what did not change is not sent
        page.wait_for_event("response")
    observed = row.locator("time").last
    expect(observed).to_have_text(re.compile(r"^\d+ (s|min)( \d+ s)? ago$"))
    expect(observed).to_have_attribute("title", re.compile(r"^[\d-]{10} [\d:]{8} UTC; here "))

    page.get_by_role("switch", name="Live").click()
    expect(page.get_by_text("paused at")).to_be_visible()
    change(8)
    person.go(f"{QUEUES}?q=read")  # paused, but a page that is opened is of now
    expect(row.get_by_role("cell", name="8", exact=True)).to_have_count(1)
    expect(page.get_by_role("switch", name="Live")).to_have_attribute("aria-checked", "false")
    change(9)
    page.get_by_role("switch", name="Live").click()
    expect(row.get_by_role("cell", name="9", exact=True)).to_have_count(1)

    button = row.get_by_role("button", name="Set the concurrency of read")
    button.scroll_into_view_if_needed()
    button.hover()
    page.mouse.down()
    before = len(asked)
    while len(asked) < before + 2:
        page.wait_for_event("response")
    page.mouse.up()
    expect(page.get_by_text("concurrency 5 already")).to_be_visible()


#: What a reader has done at a list, and the row that was its first.
DO = """() => {
  const region = document.querySelector("#live .qs-scroll");
  window.row = region.querySelector("tbody tr");
  document.querySelector("#live .qs-chooser").open = true;
  window.link = window.row.querySelector("a");
  window.link.focus();
  getSelection().selectAllChildren(window.link);
  region.scrollLeft = 40;
  window.updates = 0;
  document.addEventListener("live:updated", () => { window.updates += 1; });
}"""
DONE = """() => [
  document.querySelector("#live .qs-scroll").scrollLeft,
  document.querySelector("#live .qs-chooser").open,
  document.activeElement === window.link,
  getSelection().toString(),
  window.row.isConnected,
]"""


@pytest.mark.long  # test_admin_tables shows that all lists have the table of which the test above shows it
def test_what_a_reader_does_survives_updates_of_every_list(visit: Visit, api: httpx.Client) -> None:
    """They share one table: a message that fails again and again changes four lists at once, and an event the fifth."""
    create(api, "kept", maxReceiveCount=100, visibilityTimeout=3)
    assert api.post("/queues/kept/messages", json={"messages": [{"body": {"do": {"raise": "again"}}}]}).is_success
    eventually(lambda: api.get("/attempts", params={"queue": "kept"}).json()["items"], 60, "an attempt is recorded")
    readers = []
    for path in ("jobs/?queue=kept", "attempts/?queue=kept", "failures/?queue=kept", "handlers/", "events/?queue=kept"):
        reader = visit(viewport={"width": 700, "height": 900})
        reader.go(f"/admin/{path}")
        reader.page.evaluate(DO)
        readers.append((path, reader.page, reader.page.evaluate(DONE)))
    assert api.patch("/queues/kept", json={"priority": 3}).is_success
    for path, page, before in readers:
        page.wait_for_function("window.updates > 0", timeout=60_000)
        assert before[1] is before[2] is before[4] is True, path
        assert page.evaluate(DONE) == before, path
    assert api.post("/queues/kept/pause").is_success


def test_the_keyboard_is_enough(visit: Visit, api: httpx.Client) -> None:
    """The palette, keys in lists, the skip link and the account's menu."""
    create(api, "keys-one")
    create(api, "keys-two")
    person = visit()
    page = person.page
    person.go(f"{QUEUES}?q=keys")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="keys-one", exact=True)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="keys-two", exact=True)).to_be_focused()
    page.keyboard.press("p")
    expect(page.get_by_text("1 paused: keys-two.")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    person.has_no_barrier()
    page.keyboard.press("Escape")

    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Find")
    expect(palette.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("keys-two")
    expect(palette.get_by_role("option", name="Resume keys-two")).to_be_visible()
    expect(palette.get_by_role("option", selected=True)).to_contain_text("keys-two")
    person.has_no_barrier()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{QUEUES}keys-two/")
    page.keyboard.press("r")
    expect(page.get_by_text("1 resumed: keys-two.")).to_be_visible()

    # A whole way with nothing but keys: a queue is found and paused, and that is undone.
    page.keyboard.press("Control+k")
    page.keyboard.type("keys-one")
    expect(palette.get_by_role("option", selected=True)).to_contain_text("keys-one")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{QUEUES}keys-one/")
    page.keyboard.press("p")
    expect(page.get_by_text("1 paused: keys-one.")).to_be_visible()
    person.tabs_to(page.get_by_role("form", name="Undo").get_by_role("button", name="Undo"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 as before: keys-one.")).to_be_visible()
    person.tabs_to(page.get_by_role("button", name="Delete…"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Type the queue's name")).to_be_visible()
    person.tabs_to(page.get_by_label("Type the queue's name"))
    page.keyboard.type("keys-one")
    person.tabs_to(page.get_by_role("button", name="Delete", exact=True))
    person.tabs_to(page.get_by_role("link", name="Cancel"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{QUEUES}keys-one/")
    page.get_by_role("button", name="administrator").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Change password")).to_be_visible()
    expect(page.get_by_role("button", name="Dark")).to_be_visible()
    person.has_no_barrier()


def test_poison_goes_to_the_dead_letters_and_comes_back(visit: Visit, api: httpx.Client, system: Live) -> None:
    create(api, "dead", maxReceiveCount=3, visibilityTimeout=1)  # a look needs a receive to spare
    person = visit()
    page = person.page
    evil = [{"body": {"do": {"reject": EVIL}, "html": EVIL}}, {"body": {"do": {"raise": EVIL}, "html": EVIL}}]
    assert api.post("/queues/dead/messages", json={"messages": evil}).is_success
    wait_for_dead_letters(api, "dead", 2)

    person.go(page_of("dead", "dead-letters"))
    letters = page.get_by_role("region", name="Dead letter ")
    deadline = time.monotonic() + 60
    while letters.count() < 2:  # SQS may give out one at a time
        assert time.monotonic() < deadline, f"{letters.count()} dead letters"
        page.get_by_role("button", name="Look at ten").click()
        expect(letters.first.or_(page.get_by_text("SQS returned no dead letter"))).to_be_visible()
    rejected = letters.filter(has_text="rejected")
    expect(rejected).to_contain_text(EVIL)
    assert page.evaluate("window.evil") is None
    person.has_no_barrier()
    person.fits()

    assert api.post("/queues/dead/pause").is_success
    page.get_by_role("row").filter(has_text="rejected").get_by_role("checkbox").check()
    page.get_by_role("button", name="Redrive chosen").click()
    expect(page.get_by_text("1 dead letter redriven.")).to_be_visible()
    expect(page.get_by_text("1 dead letter", exact=True)).to_be_visible()
    page.get_by_role("button", name="Redrive all", exact=True).click()
    expect(page.get_by_role("heading", name="1 queue, 1 message?")).to_be_visible()
    page.get_by_role("button", name="Redrive dead letters").click()
    page.get_by_role("link", name="Background task: redrive").click()
    expect(page.get_by_text("completed", exact=True)).to_be_visible()

    person.go(page_of("dead", "messages"))
    page.get_by_role("button", name="Look", exact=True).click()
    messages = page.get_by_role("region", name="Message ")
    expect(messages.first).to_contain_text(EVIL)
    expect(messages).to_have_count(2)
    assert page.evaluate("window.evil") is None
    person.has_no_barrier()

    visitor = visit("viewer")
    visitor.go(page_of("dead", "messages"))
    expect(visitor.page.get_by_role("button", name="Send", exact=True)).to_have_count(0)
    visitor.go(QUEUES)
    expect(visitor.page.get_by_role("button", name="Go", exact=True)).to_have_count(0)
    visitor.is_refused("/admin/new-queue/")


@pytest.mark.long  # every page on two screens, with all rules of axe-core
def test_pages_fit_and_have_no_barrier(visit: Visit, api: httpx.Client, system: Live) -> None:
    finished_job(api, "shown")
    person = visit("administrator")
    pages = [page_of("shown", name) for name in ("", "messages", "dead-letters", "settings", "history")]
    theirs = {"queue": f"{system.prefix}shown-theirs", "handler": "log", "name": "shown-theirs"}
    get_gateway().create_queue(theirs["queue"], {})
    api.post("/adopt", json=theirs).raise_for_status()
    pages += [page_of(theirs["name"], name) for name in ("", "settings")]
    adopting = (f"/admin/discover-queues/?q={system.prefix}", "/admin/adopt-queue/")
    for path in (QUEUES, f"{QUEUES}?state=paused", "/admin/new-queue/", *adopting, *pages):
        person.suits_both_screens(path)
