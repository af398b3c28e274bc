"""What ninja does not say of an operation by itself: its problems, and links to what one can do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
        "detail": {"type": "string", "description": "what is wrong here, what was expected, and how to mend it"},
        "errors": {
            "type": "array",
            "description": "what is wrong with each field",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "existing": {"type": "string", "description": "address of what is there already"},
        "checks": {"type": "object", "description": "what each server answered (readiness)"},
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
    """The `openapi_extra` of an operation that may answer with these problems too, and what its answers lead to."""
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


def complete(schema: dict[str, Any]) -> None:
    """Add the problems that follow from what an operation is: guarded, with parameters, with a body."""
    schema["components"]["schemas"]["Problem"] = _PROBLEM_SCHEMA
    for path in schema["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            for kind in _kinds(operation):
                responses.setdefault(kind.status, response_of(kind))
            operation["responses"] = {str(status): responses[status] for status in sorted(responses, key=int)}


def _kinds(operation: dict[str, Any]) -> Iterable[Kind]:
    if operation.get("security"):
        yield from (problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.THROTTLED, problems.UNAVAILABLE)
    places = {parameter["in"] for parameter in operation["parameters"]}
    if "path" in places:
        yield problems.NOT_FOUND
    if places or "requestBody" in operation:
        yield problems.INVALID
    # A body is bounded and must be JSON also where the operation takes none.
    yield from (problems.TOO_LARGE, problems.MEDIA)
    if "requestBody" in operation:
        yield problems.MALFORMED
