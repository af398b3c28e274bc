"""Who may do what by the API.

That every operation has the same guards, with the permissions of the table, is a look at its wiring. What the guards do
with each kind of caller is proved on a few operations; `test_crawl` asks all of them as each group of people.
"""

from __future__ import annotations

import functools
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from queues import services
from queuesite import tokens
from queuesite.models import Token
from tests.conftest import Configure
from tests.support.api import ROOT, Answer, Api, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

NUMBERS = {"queues.view_queue", "jobs.view_job", "jobs.view_worker"}

#: Every operation and the permissions that it needs; None: it is open to everybody.
OPERATIONS: dict[tuple[str, str], set[str] | None] = {
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): set(),
    ("GET", "/metrics"): NUMBERS,
    ("GET", "/stats"): NUMBERS,
    ("GET", "/queues"): {"queues.view_queue"},
    ("POST", "/queues"): {"queues.add_queue"},
    ("GET", "/queues/{name}"): {"queues.view_queue"},
    ("PATCH", "/queues/{name}"): {"queues.change_queue"},
    ("DELETE", "/queues/{name}"): {"queues.delete_queue"},
    ("GET", "/queues/{name}/size"): {"queues.view_queue"},
    ("GET", "/queues/{name}/throughput"): {"queues.view_queue", "jobs.view_throughput"},
    ("POST", "/queues/{name}/messages/peek"): {"queues.view_queue", "queues.peek_message"},
    ("POST", "/queues/{name}/messages"): {"queues.send_message"},
    ("POST", "/queues/{name}/messages/bulk"): {"queues.send_message"},
    ("POST", "/queues/{name}/dead-letters/peek"): {"queues.view_queue", "queues.peek_message"},
    ("POST", "/queues/{name}/dead-letters/redrive"): {"queues.redrive_queue"},
    ("POST", "/queues/{name}/dead-letters/delete"): {"queues.purge_queue"},
    ("POST", "/queues/{name}/purge"): {"queues.purge_queue"},
    ("POST", "/queues/{name}/pause"): {"queues.change_queue"},
    ("POST", "/queues/{name}/resume"): {"queues.change_queue"},
    ("POST", "/queues/{name}/notify"): {"queues.change_queue"},
    ("POST", "/adopt"): {"queues.add_queue", "queues.change_handler"},
    ("GET", "/discover"): {"queues.add_queue"},
    ("POST", "/queues/{name}/try-now"): {"queues.change_queue"},
    ("POST", "/purge"): {"queues.purge_queue"},
    ("POST", "/pause"): {"queues.change_queue"},
    ("POST", "/resume"): {"queues.change_queue"},
    ("POST", "/undo"): {"queues.change_queue"},
    ("POST", "/sync"): {"queues.change_queue"},
    ("GET", "/events"): {"queues.view_event"},
    ("GET", "/handlers"): {"queues.view_queue"},
    ("GET", "/handlers/{name}"): {"queues.view_queue", "jobs.view_worker"},
    ("GET", "/jobs"): {"jobs.view_job"},
    ("GET", "/jobs/{job_id}"): {"jobs.view_job"},
    ("GET", "/failures"): {"jobs.view_failure"},
    ("GET", "/failures/{failure_id}"): {"jobs.view_failure"},
    ("DELETE", "/failures/{failure_id}"): {"jobs.delete_failure"},
    ("GET", "/attempts"): {"jobs.view_attempt"},
    ("GET", "/attempts/{attempt_id}"): {"jobs.view_attempt"},
    ("GET", "/search"): set(),
    ("GET", "/alerts"): {"jobs.view_alert"},
    ("GET", "/notices"): {"jobs.view_alert"},
    ("POST", "/notices/test"): {"jobs.test_alert"},
    ("GET", "/silences"): {"jobs.view_alert"},
    ("POST", "/silences"): {"jobs.silence_alert"},
    ("DELETE", "/silences/{silence_id}"): {"jobs.silence_alert"},
    ("GET", "/assignments"): {"jobs.view_assignment"},
    ("GET", "/workers"): {"jobs.view_worker"},
    ("GET", "/workers/{worker_id}"): {"jobs.view_worker"},
    ("PATCH", "/workers/{worker_id}"): {"jobs.change_worker"},
    ("POST", "/workers/{worker_id}/drain"): {"jobs.change_worker"},
    ("GET", "/leader"): {"jobs.view_lease"},
    ("GET", "/tasks"): set(),
    ("GET", "/tasks/{task_id}"): set(),
}
GUARDED = [operation for operation, permissions in OPERATIONS.items() if permissions is not None]
#: One that reads, one that needs several permissions, and two that change something.
SOME = [("GET", "/queues/{name}"), ("GET", "/stats"), ("PATCH", "/queues/{name}"), ("DELETE", "/failures/{failure_id}")]
MISSING = [(*operation, missing) for operation in SOME for missing in sorted(OPERATIONS[operation] or ())]
UNSAFE = [operation for operation in SOME if operation[0] != "GET"]
ALL = sorted({permission for permissions in OPERATIONS.values() for permission in permissions or ()})

each = pytest.mark.parametrize(("method", "path"), GUARDED)
some = pytest.mark.parametrize(("method", "path"), SOME)


def filled(path: str, name: str = "no-such") -> str:
    """The path, with names that name nothing, so that nobody changes anything."""
    ids = dict.fromkeys(("job_id", "failure_id", "attempt_id"), "0" * 24)
    return path.format(name=name, **ids, worker_id=name, task_id="0" * 32, silence_id=name)


def ask(api: Api, method: str, path: str, **headers: Any) -> Answer:
    return api.request(method, filled(path), None if method in {"GET", "DELETE"} else {}, **headers)


def let_in(answer: Answer) -> bool:
    """Whether the caller was let in; what became of the request is another matter."""
    return answer.status not in {401, 403, 405} and answer.status < 500


def token_of(*permissions: str, **options: Any) -> str:
    return tokens.make(user("caller", permissions), **options)[1]


@functools.cache
def documented() -> dict[str, Any]:
    from queuesite.api.root import api

    schema: dict[str, Any] = api.get_openapi_schema(path_prefix="/")
    return schema


def test_table_has_every_operation() -> None:
    there = {(method.upper(), path) for path, item in documented()["paths"].items() for method in item}

    assert there == set(OPERATIONS)


def test_every_operation_has_the_guards_with_its_permissions() -> None:
    import queuesite.urls  # noqa: F401 (mounts the applications' routers)
    from queuesite.api.auth import SessionAuth, TokenAuth, open_or_known
    from queuesite.api.root import api

    opened = type(open_or_known("metrics", [])[0])
    wired = {}
    for _, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                guards: list[Any] = [guard for guard in operation.auth_callbacks if not isinstance(guard, opened)]
                assert [type(guard) for guard in guards] == ([TokenAuth, SessionAuth] if guards else []), path
                needed = [set(guard.permissions) for guard in guards]
                assert all(permissions == needed[0] for permissions in needed), path
                wired.update({(method, path): needed[0] if needed else None for method in operation.methods})

    assert wired == OPERATIONS


@each
def test_manual_names_the_permissions(method: str, path: str) -> None:
    description = documented()["paths"][path][method.lower()]["description"]

    named = set(re.findall(r"`(\w+\.\w+)`", description.partition("\n\nPermissions: ")[2]))
    assert named == OPERATIONS[method, path]


@each
def test_nobody_is_let_in_without_a_token(method: str, path: str) -> None:
    problem = ask(Api(), method, path)

    assert problem.problem(401)["type"] == "urn:queuesite:problem:unauthenticated"
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")


@some
def test_nobody_is_let_in_with_a_token_that_is_none(method: str, path: str) -> None:
    ask(Api("qs_00000000_" + "x" * 43), method, path).problem(401)


@each
def test_full_permissions_are_enough(method: str, path: str) -> None:
    needed = OPERATIONS[method, path] or set()

    assert let_in(ask(Api(token_of(*needed)), method, path))


@pytest.mark.parametrize(("method", "path", "missing"), MISSING)
def test_each_permission_is_needed(method: str, path: str, missing: str) -> None:
    others = [permission for permission in ALL if permission != missing]

    problem = ask(Api(token_of(*others)), method, path).problem(403)

    assert problem["type"] == "urn:queuesite:problem:forbidden"
    assert missing in problem["detail"]


@some
def test_read_only_token_reads(method: str, path: str) -> None:
    answer = ask(Api(token_of(*ALL, read_only=True)), method, path)

    if method == "GET":
        assert let_in(answer)
    else:
        assert "read-only" in answer.problem(403)["detail"]


@some
def test_expired_token(method: str, path: str) -> None:
    token = token_of(*ALL, expires_at=timezone.now() - timedelta(seconds=1))

    ask(Api(token), method, path).problem(401)


@some
def test_revoked_token(method: str, path: str) -> None:
    token = token_of(*ALL)
    tokens.revoke(Token.objects.get().prefix)

    ask(Api(token), method, path).problem(401)


@some
def test_token_of_a_user_who_is_not_active_any_more(method: str, path: str) -> None:
    token = token_of(*ALL)
    User.objects.update(is_active=False)

    ask(Api(token), method, path).problem(401)


def session(*permissions: str, staff: bool = True) -> Api:
    api = Api()
    api.client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    api.client.force_login(user("caller", permissions, is_staff=staff))
    return api


@some
def test_session_without_csrf_token(method: str, path: str) -> None:
    answer = ask(session(*ALL), method, path)

    if method == "GET":
        assert let_in(answer)
    else:
        assert "CSRF" in answer.problem(403)["detail"]


@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_session_with_csrf_token(method: str, path: str) -> None:
    api = session(*ALL)
    api.client.cookies["csrftoken"] = "t" * 32

    assert let_in(ask(api, method, path, X_CSRFToken="t" * 32))


@some
def test_session_of_somebody_who_may_not_use_the_admin(method: str, path: str) -> None:
    ask(session(*ALL, staff=False), method, path).problem(401)


@pytest.mark.parametrize(("method", "path", "missing"), MISSING)
def test_session_needs_each_permission_too(method: str, path: str, missing: str) -> None:
    api = session(*(permission for permission in ALL if permission != missing))
    api.client.cookies["csrftoken"] = "t" * 32

    ask(api, method, path, X_CSRFToken="t" * 32).problem(403)


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in SOME if "{name}" in p])
def test_refusals_do_not_tell_what_exists(method: str, path: str, queues: object) -> None:
    services.create("there")

    for caller in (Api(), Api(token_of())):
        missing = caller.request(method, filled(path, "no-such"), {})
        existing = caller.request(method, filled(path, "there"), {})
        assert missing.status in {401, 403}
        assert (missing.status, missing.text) == (existing.status, existing.text)


def test_wrong_token_is_refused_though_a_session_is_there() -> None:
    ask(session(*ALL), "GET", "/queues", Authorization="Bearer qs_wrong").problem(401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dTpw", "Token x", "qs_x", "Bearer \xe9\xff"])
def test_odd_authorization_headers(header: str) -> None:
    ask(Api(), "GET", "/queues", Authorization=header).problem(401)


def test_superuser_may_everything() -> None:
    User.objects.create_superuser("root", password="x")

    assert let_in(ask(Api(tokens.create("root")[1]), "GET", "/stats"))


def test_docs_and_schema_are_for_the_known() -> None:
    for page in ("/docs", "/openapi.json"):
        Api().get(page).problem(401)
        assert Api(token_of()).get(page).status == 200
        User.objects.all().delete()

    asked = Api().get("/docs", Accept="text/html,*/*")
    assert asked.status == 302
    assert asked.headers["Location"] == "/admin/login/?next=/api/v1/docs"
    assert session().get("/docs").status == 200


def test_live_is_open_and_touches_nothing(configure: Configure) -> None:
    configure(mongodb_uri="mongodb://127.0.0.1:1", aws_sqs_endpoint="http://127.0.0.1:1")

    assert Api().get("/health/live").ok() == {"status": "live"}


@pytest.mark.parametrize("name", ["ready", "metrics"])
def test_what_may_be_opened(name: str, configure: Configure) -> None:
    path = "/health/ready" if name == "ready" else "/metrics"
    Api().get(path).problem(401)

    configure(api_open=name)

    assert Api().get(path).status == 200
    Api().get("/metrics" if name == "ready" else "/health/ready").problem(401)
    Api().get("/stats").problem(401)


def test_metrics_at_the_root_have_the_same_guard() -> None:
    for path in ("/metrics", f"{ROOT}/metrics"):
        Api().request("GET", path).problem(401)
        assert Api(token_of(*NUMBERS)).request("GET", path).status == 200
        User.objects.all().delete()


def test_queue_shows_its_processing_to_who_may_see_that(queues: object) -> None:
    services.create("orders")

    shown = Api(token_of("queues.view_queue")).get("/queues/orders").ok()

    assert shown["assignments"] is None
    assert shown["lastJob"] is None


def test_permissions_of_our_own_can_be_given() -> None:
    codenames = {"send_message", "peek_message", "change_handler", "purge_queue", "redrive_queue"}

    assert set(Permission.objects.filter(codename__in=codenames).values_list("codename", flat=True)) == codenames
