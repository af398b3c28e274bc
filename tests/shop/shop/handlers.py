"""What the shop does later. Workers import this module, and so does whoever sends to it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from queues.handlers import Message, handler


class Order(BaseModel):
    """A paid order."""

    number: int
    customer: str


class Receipt(BaseModel):
    """What a customer is to get."""

    order: int
    text: str


@handler("shop-receipts", payload=Receipt, queue="shop-receipts")
def receipts(receipt: Receipt, message: Message) -> None:
    """Write a receipt to the shop's book."""
    with Path(os.environ["SHOP_BOOK"]).open("a") as book:
        book.write(f"{receipt.order} {receipt.text} by {message.attributes['by']!s}\n")


@handler("shop-orders", payload=Order)
async def orders(order: Order) -> None:
    """Have a receipt written for each order."""
    await receipts.asend(Receipt(order=order.number, text=f"for {order.customer}"), attributes={"by": "orders"})
