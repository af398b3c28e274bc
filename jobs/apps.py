"""The app of who processes what exists."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, assignments, workers, leases."""

    name = "jobs"
    default_auto_field = "django_mongodb_backend.fields.ObjectIdAutoField"
