"""The site as a Django app, so that its commands (`up`, `showconfig`) are found."""

from django.apps import AppConfig


class QueuesiteConfig(AppConfig):
    """Commands and templates of the site itself; no models."""

    name = "queuesite"
