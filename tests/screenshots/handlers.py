"""The handlers of the shop in the pictures, which find them as the module `shop.handlers`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import Literal

from pydantic import BaseModel, Field

from queues.handlers import Message, Reject, Retry, Unavailable, handler

log = logging.getLogger("shop")


class Order(BaseModel):
    """An order that a customer has placed."""

    order: int
    customer: str
    total: float = 0


class MailOptions(BaseModel):
    """Options of the handler of mails."""

    sender: str = Field("orders@shop.example", description="address that mails come from")
    format: Literal["html", "text"] = Field("html", description="format of the body")
    copies: list[str] = Field([], description="addresses that get a copy")
    per_minute: int = Field(600, ge=1, le=10_000, description="most mails in a minute")


class PaymentDeclined(Exception):
    """The bank refuses the card."""


class GatewayTimeout(Exception):
    """The payment provider does not answer in time."""


class TemplateMissing(Exception):
    """A mail has no template in the customer's language."""


@handler("orders", payload=Order)
async def place_order(order: Order) -> None:
    """Reserve the goods of an order, and ask for its payment."""
    log.info("order %d of %s: reserved", order.order, order.customer)
    await asyncio.sleep(0.02 + order.order % 7 / 100)


@handler("payments", payload=Order)
def collect_payment(order: Order, message: Message) -> None:
    """Collect the payment for an order from the customer's bank."""
    log.info("order %d: asking the bank for EUR %.2f", order.order, order.total)
    time.sleep(0.03 + order.order % 11 / 100)
    if order.order % 9 == 0:
        raise Reject("the card was reported stolen")
    if order.order % 7 == 0:
        raise GatewayTimeout("pay.example did not answer within 5 s")
    if order.order % 5 == 0:
        raise PaymentDeclined(f"order {order.order}: card declined by issuer")
    if order.order % 13 == 0 and message.receive_count < 2:
        raise Retry(f"order {order.order} is not reserved yet", delay=5)


@handler("mails", options=MailOptions)
def send_mail(message: Message) -> None:
    """Send a customer the mail that a message describes."""
    time.sleep(0.02)
    number = message.json()["order"]
    if number % 40 == 0:
        raise TemplateMissing("order-shipped has no template for 'fi'")


@handler("search-index")
def index(message: Message) -> None:
    """Bring a product up to date in the search index."""
    raise Unavailable("search.example:9200 refuses connections", retry_after=60)


@handler("images", timeout=120)
def resize(message: Message) -> None:
    """Make the small copies of a product's photo."""
    time.sleep(0.3)


@handler("reports")
def report(message: Message) -> None:
    """Add up a day's sales."""
    log.info("loading the sales of %s", message.json().get("day"))
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    time.sleep(60)


@handler("warehouse")
async def move_stock(message: Message) -> None:
    """Tell the warehouse what to pack, and what has come back."""
    await asyncio.sleep(0.05 + message.json()["order"] % 5 / 50)


@handler("recommendations", timeout=30)
def recommend(message: Message) -> None:
    """Compute what a customer may like."""
    time.sleep(0.4 + message.json()["order"] % 9 / 5)
