"""Every page of the admin, as each group, on each kind of screen."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Visit
from tests.support.browser import PHONE

pytestmark = pytest.mark.timeout(300)


def test_login_page(visit: Visit) -> None:
    stranger = visit(None)
    stranger.go("/admin/")
    stranger.has_no_barrier()
    stranger.fits()
    phone = visit(None, viewport=PHONE, color_scheme="dark")
    phone.go("/admin/login/")
    phone.has_no_barrier()
    phone.fits()
