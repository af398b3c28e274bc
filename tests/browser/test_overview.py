"""The overview in a browser, on a live system: what happens shows up without a reload."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit
from tests.browser.steps import create, send
from tests.support.browser import PHONE
from tests.support.live import Live

pytestmark = pytest.mark.timeout(600)

OVERVIEW = "/admin/"
EVIL = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>"
SEEN = ("Queues", "Jobs", "Failures", "Workers", "Masters", "Background tasks")
#: A chart's numbers as Chart.js has them, and whether it is the one that was there before.
DRAWN = """() => {
  const chart = Chart.getChart(document.querySelector("#throughput canvas"));
  const same = chart === (window.before ??= chart);
  const [line] = chart.data.datasets;
  return { same, most: Math.max(...line.data), width: chart.width, colour: line.borderColor };
}"""


def test_what_happens_shows_up_without_a_reload(visit: Visit, api: httpx.Client, system: Live) -> None:
    watcher = visit("viewer")
    page = watcher.page
    watcher.go(OVERVIEW)
    page.evaluate("window.loaded = 'once'")
    expect(page.get_by_text("No master leads")).to_have_count(0)
    expect(page.get_by_role("img", name="Messages per minute in the last hour")).to_be_visible()
    backlog = re.compile("Backlog in the last hour: .* 6000 at most")
    expect(page.get_by_role("img", name=backlog)).to_be_visible()
    drawn = page.evaluate(DRAWN)
    assert drawn["most"] == 6_000
    assert drawn["width"] > 300

    create(api, "seen", concurrency=5)
    send(api, "seen", *({"n": n, "do": {"wait": "go-seen"}} for n in range(50)))
    expect(page.get_by_role("list", name="Capacity: 1 of 5 used")).to_be_visible()
    expect(page.get_by_text("5 handled", exact=True)).to_be_visible()
    (Path(system.directory) / "go-seen").touch()
    expect(page.get_by_role("list", name="Capacity: 0 of 5 used")).to_be_visible()

    create(api, "seen-poison", maxReceiveCount=1, visibilityTimeout=1)
    send(api, "seen-poison", {"do": {"raise": EVIL}})
    raised = page.get_by_role("link", name="RuntimeError")
    failure = page.get_by_role("listitem").filter(has_text="seen-poison").filter(has=raised)
    expect(failure).to_be_visible()
    expect(failure).to_contain_text("onerror")
    assert page.evaluate("window.evil") is None

    create(api, "held")
    assert api.post("/queues/held/pause").is_success
    send(api, "held", "one", "two")
    attention = page.get_by_role("list", name="Queues that need attention")
    row = attention.locator(":scope > li").filter(has=page.get_by_role("link", name="held", exact=True))
    expect(row).to_contain_text("paused with backlog")
    expect(row).to_contain_text("2 waiting")

    assert page.evaluate("window.loaded") == "once"
    drawn = page.evaluate(DRAWN)
    assert drawn["same"]
    assert drawn["most"] == 6_000
    watcher.has_no_barrier()

    page.evaluate("document.documentElement.classList.toggle('dark')")  # as the theme's switch does
    page.wait_for_function("colour => Chart.getChart(document.querySelector('#throughput canvas'))"
                           ".data.datasets[0].borderColor !== colour", arg=drawn["colour"])  # fmt: skip
    watcher.has_no_barrier()
    page.get_by_role("link", name="last 24 hours").click()
    expect(page.get_by_role("link", name="last 24 hours")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("img", name="Messages per minute in the last 24 hours")).to_be_visible()
    row.get_by_role("link", name="held", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/queues/held/")


def test_it_fits_a_phone_and_its_navigation_leads_on(visit: Visit) -> None:
    administrator = visit("administrator", viewport=PHONE, color_scheme="dark")
    administrator.go(OVERVIEW)
    expect(administrator.page.locator("html.dark")).to_have_count(1)
    expect(administrator.page.get_by_text("Capacity used")).to_be_visible()
    administrator.fits()
    administrator.has_no_barrier()

    for name, pages in (("viewer", SEEN), ("administrator", (*SEEN, "Schedules", "Tokens", "Users", "Groups"))):
        person = visit(name)
        person.go(OVERVIEW)
        navigation = person.page.locator("#nav-sidebar-inner")

        def link(title: str, navigation: Locator = navigation) -> Locator:
            """Behind the icon, whose name is a part of the theme's links."""
            return navigation.get_by_role("link", name=re.compile(rf"\b{title}$"))

        for title in pages:
            expect(link(title)).to_be_visible()
        if name == "viewer":
            expect(link("Tokens")).to_have_count(0)
        link("Jobs").click()
        expect(person.page.get_by_role("heading", name="Jobs").first).to_be_visible()
