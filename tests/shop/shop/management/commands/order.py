"""`manage.py order enqueue '["ship", 7]'…` enqueues tasks; `manage.py order result ID…` shows what is known of them."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django_tasks import TaskResult, default_task_backend

from shop import tasks


class Command(BaseCommand):
    """Print a JSON object for each."""

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do with which."""
        parser.add_argument("verb", choices=["enqueue", "result"])
        parser.add_argument("which", nargs="+")

    def handle(self, *args: Any, verb: str, which: list[str], **options: Any) -> None:
        """Enqueue, or ask."""
        if verb == "result":
            found = [default_task_backend.get_result(one) for one in which]
        else:
            calls = map(json.loads, which)
            found = [getattr(tasks, name).enqueue(*arguments) for name, *arguments in calls]
        self.stdout.write(json.dumps([known(result) for result in found]))


def known(result: TaskResult) -> dict[str, Any]:
    """What is known of a result."""
    return {
        "id": result.id,
        "status": result.status,
        "value": result.return_value if result.status == "SUCCESSFUL" else None,
        "errors": [one.exception_class_path for one in result.errors],
        "attempts": result.attempts,
        "workers": result.worker_ids,
    }
