"""What ninja leaves out of an operation's schema: its problems, and links to the operations that may follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from queuesite.api import problems
from queuesite.api.problems import Kind

_PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "the kind of problem, a URN that does not change"},
        "title": {"type": "string", "description": "the kind in words"},
        "status": {"type": "integer", "description": "the answer's status"},
        "detail": {"type": "string", "description": "the wrong value, what was expected, and how to fix it"},
        "errors": {
            "type": "array",
            "description": "what is wrong with each field",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "existing": {"type": "string", "description": "address of the existing object"},
        "checks": {"type": "object", "description": "the answer of each server (readiness)"},
        "lastSeen": {"type": "object", "description": "what was last observed, if SQS cannot be asked (size)"},
    },
    "examples": [
        {
            "type": problems.INVALID.type,
            "title": problems.INVALID.title,
            "status": 422,
            "detail": "priority 12 is out of range: expected a whole number from 0 to 9",
            "errors": [{"field": "priority", "message": "priority 12 is out of range: …"}],
        }
    ],
}


def also(*kinds: Kind, links: dict[int, dict[str, Any]] | None = None) -> dict[str, Any]:
    """The `openapi_extra` of an operation: further problems that it may answer with, and links to what may follow."""
    responses: dict[int, Any] = {status: {"links": found} for status, found in (links or {}).items()}
    for kind in kinds:
        responses[kind.status] = response_of(kind)
    return {"responses": responses}


def response_of(kind: Kind) -> dict[str, Any]:
    """A problem, as one of an operation's responses."""
    return {
        "description": f"{kind.title}. {kind.meaning}",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def link(operation: str, body: str, parameter: str = "name") -> dict[str, Any]:
    """A link to an operation whose path parameter is a member of the answer."""
    return {"operationId": operation, "parameters": {parameter: f"$response.body#/{body}"}}


#: The sections of the manual, in their order.
TAGS = [
    {"name": "queues", "description": "Definitions of queues, and operations on whole queues."},
    {"name": "messages", "description": "Send, look at and redrive messages."},
    {"name": "handlers", "description": "The handlers that a queue may have."},
    {"name": "jobs", "description": "Runs of queues."},
    {"name": "failures", "description": "Errors of handlers, grouped by kind."},
    {"name": "workers", "description": "Workers, assignments and the leader."},
    {"name": "notices", "description": "Notices of what needs attention, and silences for maintenance."},
    {"name": "numbers", "description": "Numbers, time series and metrics for dashboards."},
    {"name": "tasks", "description": "Long operations that run in the background."},
    {"name": "health", "description": "Liveness and readiness."},
]


_PATH_PARAMETERS = {
    "name": "name of the queue, without QUEUE_NAME_PREFIX",
    "job_id": "id of the job",
    "failure_id": "id of the kind of failure",
    "attempt_id": "id of the attempt",
    "worker_id": "id of the worker",
    "task_id": "id of the task",
    "silence_id": "id of the silence",
}


class Schema(OpenAPISchema):
    """ninja's schema with the permissions and the problems of each operation."""

    def __init__(self, api: NinjaAPI, path_prefix: str) -> None:
        super().__init__(api, path_prefix)
        self["components"]["schemas"]["Problem"] = _PROBLEM_SCHEMA

    def operation_details(self, operation: Operation) -> dict[str, Any]:
        """The operation, with its permissions and the problems that its parameters, body and method imply."""
        details: dict[str, Any] = super().operation_details(operation)
        details["summary"] = details["summary"].capitalize()
        permissions = sorted({p for guard in operation.auth_callbacks for p in getattr(guard, "permissions", ())})
        if permissions:
            details["description"] += f"\n\nPermissions: {', '.join(f'`{name}`' for name in permissions)}."
        for parameter in details["parameters"]:
            if parameter["in"] == "path":
                parameter["description"] = _PATH_PARAMETERS[parameter["name"]]
        responses = details["responses"]
        for kind in _kinds(details):
            responses.setdefault(kind.status, response_of(kind))
        details["responses"] = {str(status): responses[status] for status in sorted(responses, key=int)}
        return details


def _kinds(operation: dict[str, Any]) -> Iterable[Kind]:
    if operation.get("security"):
        yield from (problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.THROTTLED, problems.UNAVAILABLE)
    places = {parameter["in"] for parameter in operation["parameters"]}
    if "path" in places:
        yield problems.NOT_FOUND
    if places or "requestBody" in operation:
        yield problems.INVALID
    # Even for operations that take no body, one must be JSON and within the limit.
    yield from (problems.TOO_LARGE, problems.MEDIA)
    if "requestBody" in operation:
        yield problems.MALFORMED
