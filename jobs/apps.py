"""The app of who processes what exists."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, failures, assignments, workers, masters."""

    name = "jobs"
    verbose_name = "Processing"
    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"

    def ready(self) -> None:
        """Have the catalogue of handlers know what workers announce."""
        from jobs import announcements
        from queues.handlers import catalogue

        catalogue.set_source(announcements.live)
