"""Where the app's tables are."""

from __future__ import annotations

from typing import Any


class Router:
    """The app's tables are in `warehouse`, and nothing else is."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Queuesite's router answers for all other apps."""
        return "warehouse" if model._meta.app_label == "stock" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        """Queuesite's router answers if neither is the team's."""
        if db == "warehouse" or app_label == "stock":
            return db == "warehouse" and app_label == "stock"
        return None
