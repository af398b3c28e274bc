"""What exists: queues, their definitions, their messages, and the handlers that process them.

`queues.send` and its relatives send from any code; see `queues.sending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queues.sending import asend, asend_many, send, send_many, send_on_commit

__all__ = ["asend", "asend_many", "send", "send_many", "send_on_commit"]


def __getattr__(name: str) -> Any:
    # Imported when it is used: Django imports this package before its apps are ready.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from queues import sending

    return getattr(sending, name)
