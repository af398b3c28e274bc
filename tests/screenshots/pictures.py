"""The pictures: which page each one shows, on which screen, and how it is taken."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.screenshots.shop import ALICE, Shop
from tests.support.browser import DESKTOP, PHONE, Visitor

#: Most bytes of a picture: the repository keeps each version of it for ever.
MAX_BYTES = 150_000
QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A page as a picture."""

    name: str
    path: str
    dark: bool = False
    phone: bool = False
    #: The height of the part that is shown, in CSS pixels.
    height: int = 900
    #: The text typed into the palette, which is open in the picture. None: it is closed.
    find: str | None = None

    @property
    def file(self) -> str:
        """Its name in the docs."""
        return f"{self.name}{'-phone' * self.phone}{'-dark' * self.dark}.webp"


PICTURES = (
    Picture("overview", "/admin/", height=1640),
    Picture("overview", "/admin/", phone=True, height=844),
    Picture("queues", "/admin/queues/", height=800),
    Picture("queues", "/admin/queues/", phone=True, dark=True, height=844),
    Picture("queue", "/admin/queues/payments/", height=1100),
    Picture("queue-paused", "/admin/queues/invoices/", height=480),
    Picture("dead-letters", "/admin/queues/payments/dead-letters/", height=800),
    Picture("failure", "/admin/failures/{failure}/", height=980),
    Picture("failure", "/admin/failures/{failure}/", dark=True, height=980),
    Picture("message", "/admin/attempts/message/{message}/", height=800),
    Picture("handler", "/admin/handlers/payments/", height=800),
    Picture("jobs", "/admin/jobs/", dark=True, height=700),
    Picture("workers", "/admin/workers/", height=700),
    Picture("events", "/admin/events/", height=700),
    Picture("palette", "/admin/queues/", height=640, find="pay"),
)


def take(shop: Shop, browser: Browser, into: Path) -> Iterator[tuple[Picture, int]]:
    """Take the pictures, one after the other, with their sizes in bytes. Fails if one is too large."""
    visitor = Visitor(browser, shop.address)
    visitor.log_in(ALICE, shop.password)
    for picture in PICTURES:
        _open(shop, visitor, picture)
        data = _shot(visitor.page)
        assert len(data) <= MAX_BYTES, f"{picture.file} has {len(data):,} bytes, more than {MAX_BYTES:,}"
        (into / picture.file).write_bytes(data)
        yield picture, len(data)
    visitor.close()


def _open(shop: Shop, visitor: Visitor, picture: Picture) -> None:
    page = visitor.page
    size = PHONE if picture.phone else DESKTOP
    page.set_viewport_size({"width": size["width"], "height": picture.height})
    page.emulate_media(color_scheme="dark" if picture.dark else "light")
    path = picture.path.format(**shop.found)
    assert visitor.go(path) == 200, path
    if picture.path.endswith("/dead-letters/"):
        page.get_by_role("button", name="Look at ten").click()
        page.get_by_role("checkbox").first.wait_for()
    page.evaluate("document.fonts.ready.then(() => null)")
    page.locator(".qs-status li >> nth=1").wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('.qs-chart canvas')].every(one => window.Chart?.getChart(one))"
    )
    if picture.find is not None:
        page.keyboard.press("Control+k")
        page.keyboard.type(picture.find)
        page.locator("#palette-0").filter(has_text=picture.find).wait_for()


def _shot(page: Page) -> bytes:
    session = page.context.new_cdp_session(page)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    session.detach()
    return base64.b64decode(taken["data"])
