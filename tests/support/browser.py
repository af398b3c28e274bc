"""A user at a browser: Debian's chromium, watched for faults that no page may have."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    StorageState,
    ViewportSize,
    expect,
    sync_playwright,
)

#: How long a page may take to show what a test expects, in milliseconds; far more than it needs.
PATIENCE = 60_000
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
#: Whether axe-core has been loaded into this document, once its fonts have: until then, icons are words for axe-core.
_AXE_IS_LOADED = "document.fonts.ready.then(() => 'axe' in window)"
#: Only what axe-core finds is sent. Loading the style sheets again would serve only a rule about the screen's
#: orientation, which no style of ours names.
_FIND_BARRIERS = """async (context) => {
  const { violations } = await axe.run(context ?? document, { resultTypes: ["violations"], preload: false });
  const found = violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}\n    ${node.html.slice(0, 300)}\n    ${node.failureSummary.slice(0, 300)}`));
  return [found, `${innerWidth} px, ${document.documentElement.className}`];
}"""
#: No other machine has an address for the browser, so a page that asks one for something gets nothing.
_ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
#: What has the focus, and whether one sees that.
_FOCUSED = """() => {
  const element = document.activeElement, { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  const drawn = (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  return [element.outerHTML.slice(0, 200), element === document.body || (drawn && element.checkVisibility())];
}"""


def find_chromium() -> str | None:
    """The browser's path, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chromium() -> str:
    """The browser's path. Without one, the test is skipped, or fails with CI=1."""
    found = find_chromium()
    if found is not None:
        return found
    reason = "no browser: install Debian's chromium (apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser. Playwright's loop runs in this thread until it is closed."""
    path = chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", _ONLY_HERE])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A user of the site with a session of their own. `faults` lists the faults of the pages so far."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.address = address
        self.faults: list[str] = []
        self._faults_before: list[str] = []
        self._context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **options})
        self._context.set_default_timeout(PATIENCE)
        # Listening leaves the browser its cache; a route would make it load each script again on each page.
        self._context.on("request", self._on_request)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:", f"{self.address}/")):
            self.faults.append(f"{self.page.url} asks for {request.url}, which is another machine's")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"{self.page.url}: {message.text} ({message.location.get('url')})")

    def close(self) -> None:
        """End the session. Fails if a page had an error or sent a request to another machine."""
        self._context.close()
        assert not self.faults, "\n".join(self.faults)

    def log_in(self, name: str, password: str) -> StorageState:
        """Log in through the form. Returns what another visit needs to go on with the session."""
        self.go("/admin/login/?next=/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")
        return {"cookies": self._context.storage_state()["cookies"]}

    def go(self, path: str) -> int:
        """Open a page. Returns the status of the answer."""
        answer = self.page.goto(self.address + path)
        assert answer is not None
        return answer.status

    def is_refused(self, path: str) -> None:
        """Open a page that this user may not see. The browser's error about it is not counted as a fault."""
        before = list(self.faults)
        assert self.go(path) == 403
        self.faults = before

    def disconnect(self) -> None:
        """Disconnect the network. The browser's errors about it are not counted as faults until `connect`."""
        self._faults_before = list(self.faults)
        self._context.set_offline(True)

    def connect(self) -> None:
        """Connect the network again."""
        self._context.set_offline(False)
        self.faults = self._faults_before

    def has_no_barrier(self, *, except_for: str | None = None) -> None:
        """Check that axe-core finds nothing on the page, of whatever impact, except within this selector."""
        if not self.page.evaluate(_AXE_IS_LOADED):
            self.page.evaluate(AXE_SCRIPT)
        context = {"exclude": [[except_for]]} if except_for else None
        barriers, screen = self.page.evaluate(_FIND_BARRIERS, context)
        assert not barriers, f"{self.page.url} ({screen})\n" + "\n".join(barriers)

    def suits_both_screens(self, path: str) -> None:
        """Check that a page fits and has no barrier: light on a desktop, then (without a reload) dark on a phone."""
        self.page.set_viewport_size(DESKTOP)
        assert self.go(path) == 200, path
        self.has_no_barrier()
        self.fits()
        self.page.set_viewport_size(PHONE)
        self.page.evaluate("document.documentElement.classList.add('dark')")  # as the theme's switch does
        self.has_no_barrier()
        self.fits()

    def tabs_to(self, target: Locator, most: int = 100) -> None:
        """Press Tab until this element has the focus, which is seen wherever it is on the way."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            where, seen = self.page.evaluate(_FOCUSED)
            assert seen, f"{self.page.url}: nobody sees that {where} has the focus"
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{self.page.url}: {most} times Tab do not lead to {target}")

    def fits(self) -> None:
        """Check that the page is no wider than the screen."""
        wide, screen = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= screen, f"{self.page.url} is {wide} px wide on a screen of {screen}"
        scrolls = self.page.evaluate(
            "[...document.querySelectorAll('.qs-scroll:has(> .qs-fixed)')]"
            ".filter(list => list.scrollWidth > list.clientWidth).map(list => list.getAttribute('aria-label'))"
        )
        assert not scrolls, f"{self.page.url}: these lists scroll sideways: {', '.join(scrolls)}"
