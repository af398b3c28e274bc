"""What a user writes: functions that process messages.

    from queues.handlers import Message, Reject, Retry, handler

    @handler("orders")
    def process_order(message: Message) -> None:
        ...

    @handler("invoices", payload=Invoice)
    def process_invoice(invoice: Invoice, message: Message) -> None:
        ...

When the function returns, its message is done and is deleted. When it raises, the message is retried after a growing
delay. `Retry` and `Reject`, raised or returned, choose another outcome. Functions may be `async def`. Modules named
`handlers.py` in installed apps are imported automatically, as are those of HANDLER_MODULES.
"""

from queues.handlers.contract import Message, Reject, Retry
from queues.handlers.registry import handler

__all__ = ["Message", "Reject", "Retry", "handler"]
