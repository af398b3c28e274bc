"""Enqueues a task and prints the id of its result, or prints what is known of a result."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django_tasks import default_task_backend

from shop import tasks


class Command(BaseCommand):
    """`manage.py order enqueue ship 7`, `manage.py order result ID`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=["enqueue", "result"])
        parser.add_argument("name")
        parser.add_argument("arguments", nargs="*")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "enqueue":
            result = getattr(tasks, options["name"]).enqueue(*map(json.loads, options["arguments"]))
        else:
            result = default_task_backend.get_result(options["name"])
        known = {
            "id": result.id,
            "status": result.status,
            "value": result.return_value if result.status == "SUCCESSFUL" else None,
            "errors": [one.exception_class_path for one in result.errors],
            "attempts": result.attempts,
            "workers": result.worker_ids,
        }
        self.stdout.write(json.dumps(known))
