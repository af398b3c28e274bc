"""The site as a Django app: its commands, and what it keeps in Django's own database."""

from django.apps import AppConfig


class QueuesiteConfig(AppConfig):
    """Commands, templates, the API's root, tokens and background tasks."""

    name = "queuesite"

    def ready(self) -> None:
        """Have changes of users heard of."""
        from queuesite import passwords  # noqa: F401  # it connects its receivers
