"""What a user writes: functions that process messages.

    from queues.handlers import Message, Reject, Retry, handler

    @handler("orders")
    def process_order(message: Message) -> None:
        ...

A function that returns is done with its message, which is deleted. One that raises has it retried after a growing
delay; `Retry` and `Reject`, raised or returned, choose what happens instead. Functions may be `async def`.
Modules named `handlers.py` in installed apps are imported by themselves, those of HANDLER_MODULES too.
"""

from queues.handlers.contract import Message, Reject, Retry
from queues.handlers.registry import handler

__all__ = ["Message", "Reject", "Retry", "handler"]
