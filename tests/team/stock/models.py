"""What the team keeps."""

from __future__ import annotations

from django.db import models


class Item(models.Model):
    """An article and how many of it there are."""

    name = models.CharField(max_length=50, unique=True)
    count = models.IntegerField(default=0)
