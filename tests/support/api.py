"""A client of the API within this process: requests with a token, answers as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from queuesite import tokens

ROOT = "/api/v1"


class Answer:
    """The answer to a request."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers = response.headers
        self.text: str = response.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def ok(self) -> Any:
        """The content, after checking that it is not a problem."""
        assert self.status < 300, (self.status, self.text)
        return self.json if self.text else None

    def problem(self, status: int) -> dict[str, Any]:
        """The content, after checking that it is this problem."""
        assert self.status == status, (self.status, self.text)
        assert self.headers["Content-Type"] == "application/problem+json"
        content: dict[str, Any] = self.json
        assert content["status"] == status
        assert content["type"].startswith("urn:queuesite:problem:")
        assert content["title"]
        assert content["detail"]
        return content


class Api:
    """A client, with or without a token."""

    def __init__(self, token: str | None = None, **headers: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **headers}

    def request(self, method: str, path: str, body: Any = None, *, data: bytes | None = None, **headers: str) -> Answer:
        """Send `body` as JSON, or `data` as it is. `headers` have underscores instead of hyphens."""
        content = data if data is not None else (b"" if body is None else json.dumps(body).encode())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(
            self.client.generic(
                method,
                path if path.startswith(("/api", "/metrics")) else ROOT + path,
                content,
                content_type=named.pop("Content-Type", "application/json"),
                headers={**self.headers, **named},
            )
        )

    def get(self, path: str, **headers: Any) -> Answer:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: Any) -> Answer:
        return self.request("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None) -> Answer:
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)


def user(name: str, permissions: Iterable[str] = (), **fields: Any) -> User:
    """A user with these permissions (`app.codename`)."""
    made = User.objects.create_user(name, **fields)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        made.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return made


def somebody(*permissions: str) -> Client:
    """A browser of a member of staff with these permissions."""
    client = Client()
    client.force_login(user(f"may-{len(permissions)}", permissions, is_staff=True))
    return client


def everything(name: str = "root") -> Api:
    """A client that may do everything."""
    User.objects.create_superuser(name, password="x")
    return Api(tokens.create(name)[1])


def run_tasks() -> int:
    """Run the queued background tasks, as `qcluster` would. Returns how many there were."""
    from pydoc import locate

    from django_q.models import OrmQ
    from django_q.signing import SignedPackage

    waiting = list(OrmQ.objects.all())
    for row in waiting:
        task = SignedPackage.loads(row.payload)
        function: Any = locate(task["func"])
        function(*task["args"], **task["kwargs"])
        row.delete()
    return len(waiting)
