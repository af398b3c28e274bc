"""What the shop keeps."""

from __future__ import annotations

from django.db import models


class Purchase(models.Model):
    """An order of a customer."""

    customer = models.CharField(max_length=50)

    class Meta:
        app_label = "shop"
