"""The tag around what changes as one on a live page."""

from __future__ import annotations

from django import template
from django.template.context import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from queuesite.live import NO_TOKEN, digest, shown_parts

register = template.Library()


@register.simple_block_tag(takes_context=True)
def part(context: Context, content: str, element: str, *key: object, **attributes: object) -> SafeString:
    """An element that an update leaves empty if the page shows it as it is: `{% part "tr" "queue-" id class="x" %}`.

    The parts of `key` make its id, which is unique on the page. What the element holds must not depend on the time of
    the answer: the filters of `moments` leave that to the browser.
    """
    id_ = "".join(str(one) for one in key)
    attributes_html = format_html_join("", ' {}="{}"', attributes.items())
    # A page's own CSRF token differs each time.
    token = str(context.get("csrf_token", ""))
    found = digest(f"{id_}{attributes_html}{content.replace(token, NO_TOKEN) if token else content}")
    request = context.get("request")
    if request is not None and found in shown_parts(request):
        return format_html('<{} id="{}" data-same></{}>', element, id_, element)
    return format_html(
        '<{} id="{}" data-part="{}"{}>{}</{}>', element, id_, found, attributes_html, SafeString(content), element
    )
