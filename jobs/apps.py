"""The app of who processes what exists."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, failures, assignments, workers, masters."""

    name = "jobs"
    verbose_name = "Processing"
    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"
