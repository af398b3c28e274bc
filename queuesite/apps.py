"""The site as a Django app: its commands, and what it keeps in Django's own database."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class QueuesiteConfig(AppConfig):
    """Commands, templates, the API's root, tokens and background tasks."""

    name = "queuesite"

    def ready(self) -> None:
        """Connect the receivers of signals."""
        from queuesite import groups, passwords  # noqa: F401  # `passwords` connects its own

        # For every app, after Django's own receiver, which makes the app's permissions.
        post_migrate.connect(groups.grant)
