"""`{% program %}`: how people call the command line here, in the hints of pages. It is built into all templates."""

from __future__ import annotations

from django import template

from queuesite.foundation.home import PROGRAM

register = template.Library()


@register.simple_tag
def program() -> str:
    """`manage.py` or `queuesite`."""
    return PROGRAM
