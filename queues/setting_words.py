"""What is said of a queue's setting: its name, its limits, its default and its values in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from queuesite.foundation.config import get_config
from queuesite.foundation.quantities import in_words, plural


def share(one_in: int) -> str:
    """A sampling rate as a share: `1 % of successful attempts`."""
    if one_in == 0:
        return "no successful attempt"
    return "all successful attempts" if one_in == 1 else f"{100 / one_in:g} % of successful attempts"


class SettingWords:
    """The words of a `Setting`, which declares what they are made of."""

    name: str
    called: str | None
    help: str
    limits: tuple[int, int] | None
    capped_by: str | None
    default_from: str | None
    empty: str | None
    empty_from: str | None
    unit: str | Callable[[int], str]
    optional: bool
    declared_default: Callable[[], Any]

    @property
    def words(self) -> str:
        """Its name as people read it."""
        return self.called or self.name.replace("_", " ")

    @property
    def limit_words(self) -> str:
        """Its limits under any configuration, in words; empty unless it is a number."""
        if self.limits is None:
            return ""
        return f"{self.limits[0]} to {self.capped_by.upper() if self.capped_by else f'{self.limits[1]:,}'}"

    @property
    def default_words(self) -> str:
        """Its default under any configuration, in words."""
        if self.default_from is not None:
            return self.default_from.upper()
        value = self.declared_default()
        if value is None:
            return self.empty or ""
        return value if isinstance(value, str) else json.dumps(value)

    def description(self, empty: str) -> str:
        """The help, and what lies behind its limits. `empty` is the reader's word for an empty value."""
        capped = f"; at most {self.capped_by.upper()}" if self.capped_by else ""
        return f"{self.help}{capped}" + (f"; {empty}: {self.empty}" if self.optional else "")

    @property
    def default_now(self) -> str:
        """Its default under the present configuration: `30 seconds`, `any worker`, `1 % of successful attempts`."""
        named = self.default_from or self.empty_from
        value = self.declared_default() if named is None else getattr(get_config(), named)
        return f"{self.said(value)} ({named.upper()})" if named is not None else self.said(value)

    def said(self, value: Any) -> str:
        """A value with its unit."""
        if value is None:
            return self.empty if self.empty is not None and self.empty_from is None else "no limit"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if not isinstance(value, int):
            return str(value) if value else "none"
        if callable(self.unit):
            return self.unit(value)
        if self.unit == "second":
            return in_words(value)
        if self.unit == "%":
            return f"{value} %"
        return plural(value, self.unit) if self.unit else f"{value:,}"
