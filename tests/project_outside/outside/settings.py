"""The settings of the shop."""

SECRET_KEY = "of the shop"
INSTALLED_APPS = ["shop"]
DATABASES: dict[str, object] = {}
USE_TZ = True
TASKS = {"default": {"BACKEND": "queues.django_tasks.SqsBackend", "QUEUES": ["orders"]}}
