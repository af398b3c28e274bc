"""Tags that are built into all templates: how people call the command line here (in hints), and the version."""

from __future__ import annotations

from django import template

from queuesite import __version__
from queuesite.foundation.home import PROGRAM

register = template.Library()


@register.simple_tag
def program() -> str:
    """`manage.py` or `queuesite`."""
    return PROGRAM


@register.simple_tag
def version() -> str:
    """The version of this code."""
    return __version__
