"""`manage.py checkout CUSTOMER…`: buys once for each customer, in a transaction; that of nobody is rolled back."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection, transaction

from shop.handlers import Order, orders
from shop.models import Purchase


class Command(BaseCommand):
    """Buy."""

    def add_arguments(self, parser: CommandParser) -> None:
        """The customers."""
        parser.add_argument("customers", nargs="+")

    def handle(self, *args: Any, customers: list[str], **options: Any) -> None:
        """Buy for each, in order."""
        with connection.schema_editor() as editor:
            editor.create_model(Purchase)
        for customer in customers:
            try:
                with transaction.atomic():
                    bought = Purchase.objects.create(customer=customer)
                    orders.send_on_commit(Order(number=bought.pk, customer=customer))
                    if customer == "nobody":
                        raise LookupError
            except LookupError:
                self.stdout.write("rolled back")
