"""Sets up Django for tests, if neither pytest-django nor a conftest.py has done it."""

from __future__ import annotations

import os

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, settings

from queuesite.foundation import home
from queuesite.foundation.config import get_config


def set_up() -> None:
    """Have Django load its apps, with Queuesite's settings unless DJANGO_SETTINGS_MODULE names others, in `.env` too.

    The home is found as by every command. Raises `ConfigError` if the configuration is wrong.
    """
    if apps.apps_ready:
        return
    if not settings.configured and not os.environ.get(ENVIRONMENT_VARIABLE):
        home.enter(home.home())
        get_config()  # reads .env
        if not os.environ.get(ENVIRONMENT_VARIABLE):
            os.environ[ENVIRONMENT_VARIABLE] = "queuesite.settings"
    django.setup()
