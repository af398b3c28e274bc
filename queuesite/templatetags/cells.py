"""What cells of tables hold, and the filter that cuts a long name in the middle."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from queuesite.templatetags.quantities import NONE

register = template.Library()

#: Names up to this length are never cut; of longer ones the last characters stay in view, since names differ there.
WHOLE, TAIL = 24, 8
#: Characters of a text that its cell holds, and that are shown on hover.
_BEGINNING, _HOVERED = 200, 1_000


@register.filter
def cut(text: object) -> SafeString | str:
    """A name that the browser shortens in its middle if it does not fit, with the whole name on hover."""
    whole = str(text)
    if len(whole) <= WHOLE:
        return whole
    return format_html(
        '<span class="qs-cut" title="{}"><span class="qs-cut-head">{}</span><span>{}</span></span>',
        whole,
        whole[:-TAIL],
        whole[-TAIL:],
    )


def link(text: object, address: str | None, key: str = "") -> SafeString | str:
    """A name that leads to its page; without an address, the name. `key` is the link's id."""
    whole = str(text)
    if address is None:
        return cut(whole)
    # The cut is for eyes: what a screen reader says, and a search finds, is the whole name.
    label = format_html(' aria-label="{}"', whole) if len(whole) > WHOLE else ""
    id_ = format_html(' id="{}"', key) if key else ""
    return format_html('<a class="qs-link"{}{} href="{}">{}</a>', id_, label, address, cut(whole))


def whole(text: str) -> SafeString | str:
    """A text that the browser cuts at the cell's end, with more of it on hover."""
    if not text:
        return NONE
    return format_html('<span title="{}">{}</span>', text[:_HOVERED], text[:_BEGINNING])


def share(part: float | None) -> str:
    """A share of 0 to 1 as a percentage."""
    return NONE if part is None else f"{100 * part:.1f} %"
