"""What a user writes: functions that process messages.

    from queues.handlers import Message, Reject, Retry, handler

    @handler("orders")
    def process_order(message: Message) -> None:
        ...

    @handler("invoices", payload=Invoice)
    def process_invoice(invoice: Invoice, message: Message) -> None:
        ...

When the function returns, its message is done and is deleted. When it raises, the message is retried after a growing
delay. `Retry`, `Reject` and `Unavailable`, raised or returned, choose another outcome, and so does
`@handler(…, retry={…})` by the exception's class. Functions may be `async def`. Modules named `handlers.py` in
installed apps are imported automatically, as are those of HANDLER_MODULES.
"""

from queues.handlers.batching import MessageBatch
from queues.handlers.contract import Message, Reject, Retry, Unavailable
from queues.handlers.lambdas import from_lambda
from queues.handlers.registry import handler
from queues.handlers.retrying import exponential

__all__ = ["Message", "MessageBatch", "Reject", "Retry", "Unavailable", "exponential", "from_lambda", "handler"]
