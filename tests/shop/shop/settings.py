"""A project of somebody else: its own settings and tables, and none of our apps."""

from __future__ import annotations

import os

SECRET_KEY = "not a secret: nothing is signed"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {"default": {"BACKEND": "queues.django_tasks.SqsBackend", "QUEUES": ["shop-tasks"]}}
