"""Prints as JSON where a new setting of a queue appears if a single attribute is added to the declaration.

It is a program, run by tests/unit/test_queue_settings.py: models and schemas are made when modules are imported, so the
declaration is changed before Django is set up.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

DECLARATION = """
    error_budget: int | None = setting(
        None, group="Pace", help="failed attempts an hour", limits=(3, 77), empty="any number", followed=True
    )
"""


def declare() -> None:
    """Import `queues.settings` with a further attribute at the end of the class."""
    spec = find_spec("queues.settings")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    end = source.index("\n\n\ndef _declared")
    module = sys.modules[spec.name] = module_from_spec(spec)
    exec(compile(source[:end] + DECLARATION + source[end:], spec.origin, "exec"), vars(module))


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "queuesite.settings"
    declare()
    import django

    django.setup()
    import write_docs
    from django.core.management import get_commands, load_command_class

    from jobs.admin.queue_form import QueueForm, fieldsets
    from jobs.api.schemas import QueueOut
    from jobs.consumer.settings import QueueSettings
    from queues import setting_checks
    from queues.api.schemas import QueueIn, QueuePatch
    from queues.models import Queue
    from queuesite.foundation import documents
    from queuesite.foundation.errors import QueuesiteError

    def refused(act: Any) -> str:
        try:
            act()
        except QueuesiteError as error:
            return str(error)
        return ""

    def of_run(error_budget: int) -> QueueSettings:
        values: dict[str, Any] = {"error_budget": error_budget}
        return QueueSettings(name="q", queue_url="u", dlq_url=None, fifo=False, **values)

    create = load_command_class(get_commands()["sqs"], "sqs").create_parser("manage.py", "sqs")
    found = {
        "schemas": {
            schema.__name__: schema.model_json_schema()["properties"].get("errorBudget")
            for schema in (QueueIn, QueuePatch, QueueOut)
        },
        "argument": create.parse_args(["create", "q", "--error-budget", "5"]).error_budget,
        "field": str(QueueForm().fields["error_budget"].help_text),
        "fieldsets": dict(fieldsets({}))["Pace"]["fields"],
        "column": documents.columns(Queue, {"error_budget": 5}),
        "validation": refused(lambda: setting_checks.validate_settings({"error_budget": 78})),
        "malformed": documents.bounds(Queue)["errorBudget"],
        "consumer": refused(lambda: of_run(78).check()),
        "followed": of_run(5) != of_run(6),
        "docs": [line for line in write_docs.queue_settings().splitlines() if "errorBudget" in line],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
