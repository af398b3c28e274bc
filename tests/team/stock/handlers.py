"""What the team does with messages."""

from __future__ import annotations

from django.db.models import F
from pydantic import BaseModel

from queues.handlers import handler
from stock.models import Item


class Delivery(BaseModel):
    """Articles that arrived."""

    name: str
    count: int


@handler("team-stock", payload=Delivery)
def arrived(delivery: Delivery) -> None:
    """Count what arrived."""
    item, _ = Item.objects.get_or_create(name=delivery.name)
    Item.objects.filter(pk=item.pk).update(count=F("count") + delivery.count)
