"""Every address of the admin and the API, asked for by everybody: never a fault, never a page to whom it is not for.

No answer tells a secret or where our code lies. The addresses are those of the URL resolver and of the API's schema.
"""

from __future__ import annotations

import base64
import pickle
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Success

from jobs.models import Failure, Master, Worker
from queues import services
from queues.event_model import Event
from queues.sqs import OutgoingMessage, get_gateway
from queuesite import tokens
from queuesite.foundation.config import BASE_DIR
from queuesite.foundation.databases import collection
from queuesite.models import BackgroundTask, Token
from tests.integration.test_api_permissions import OPERATIONS
from tests.support.api import ROOT, user
from tests.support.crawl import NEEDS, Address, addresses
from tests.support.records import attempted, register, running

# One test asks for every address: 4 s on a quiet machine, and 120 s were too few at a load of 30.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues"), pytest.mark.timeout(400)]

KINDS = ("anonymous", "nobody", "viewer", "operator", "administrator", "superuser")
#: Who sees a part of what a superuser sees: what differs is what they are refused.
PARTLY = {"viewer", "operator", "administrator"}
OPTION, BODY, PASSWORD = "s3cr3t-option", "b0dy-of-a-task", "pbkdf2_sha256$s3cr3t-hash"


#: What was unpickled.
HEARD: list[str] = []


class Evil:
    """A pickle that tells when somebody reads it."""

    def __reduce__(self) -> Any:
        return tell, ("read",)


def tell(word: str) -> None:
    HEARD.append(word)


@pytest.fixture
def ids() -> dict[str, object]:
    """An object of each model that the admin shows, by the model; a worker is busy, and secrets are everywhere."""
    options = {"url": "https://example.com", "headers": {"Authorization": OPTION}}
    queue = services.create("orders", settings={"handler": "http", "handler_options": options})
    get_gateway().send(queue.queue_url, [OutgoingMessage("a")])
    worker = register("w1")
    assignment = running(queue, worker)
    told = {"jobId": assignment.job_id, "queueName": "orders", "processed": 3, "pid": 99, "memory": 1}
    collection(Worker).update_one({"_id": worker}, {"$set": {"consumers": [told]}})
    now = timezone.now()
    failure = collection(Failure).insert_one(
        {"queueUrl": queue.queue_url, "queueId": queue.id, "queueName": "orders", "fingerprint": "f", "count": 1,
         "exceptionType": "KeyError", "place": "p", "message": "m", "traceback": "t", "sampleBody": "x",
         "firstSeenAt": now, "lastSeenAt": now}
    ).inserted_id  # fmt: skip
    attempt = attempted(queue)
    collection(Master).insert_one({"_id": "m1", "host": "h", "pid": 1, "startedAt": now, "heartbeatAt": now})
    owner = user("owner", password="x")
    User.objects.filter(pk=owner.pk).update(password=PASSWORD)
    content_type = ContentType.objects.get(app_label="queues", model="queue")
    entry = LogEntry.objects.create(
        user=owner, content_type=content_type, object_id=str(queue.id), object_repr="orders", action_flag=CHANGE
    )
    done = Success.objects.create(id="d" * 32, name="done", func="f", started=now, stopped=now, success=True)
    failed = Success.objects.create(id="e" * 32, name="failed", func="f", started=now, stopped=now, success=False)
    with connection.cursor() as cursor:
        evil = base64.b64encode(pickle.dumps(Evil())).decode()
        cursor.execute("UPDATE django_q_task SET args = %s, kwargs = %s, result = %s", [evil] * 3)
    return {
        "queues_queue": queue.name,
        "queues_event": (collection(Event).find_one() or {})["_id"],
        "jobs_job": assignment.job_id,
        "jobs_failure": failure,
        "jobs_attempt": attempt,
        "jobs_worker": worker,
        "jobs_handlerversion": "http",
        "jobs_master": "m1",
        "jobs_alert": "system",
        "queuesite_token": tokens.make(owner)[0].pk,
        "queuesite_backgroundtask": BackgroundTask.objects.create(kind="sync", arguments={"a": BODY}, owner=owner).pk,
        "auth_user": owner.pk,
        "auth_group": Group.objects.get(name="viewers").pk,
        "axes_accessattempt": AccessAttempt.objects.create(
            username="owner", ip_address="192.0.2.1", failures_since_start=1, get_data="", post_data=BODY
        ).pk,
        "admin_logentry": entry.pk,
        "django_q_schedule": Schedule.objects.earliest("pk").pk,
        "django_q_success": done.pk,
        "django_q_failure": failed.pk,
        "django_q_ormq": OrmQ.objects.create(key="queuesite", payload="not:signed", lock=now).pk,
    }


def somebody(kind: str) -> User | None:
    if kind == "anonymous":
        return None
    if kind == "superuser":
        return User.objects.create_superuser("superuser", password="x")
    made = user(kind, is_staff=kind != "nobody")
    if kind != "nobody":
        made.groups.add(Group.objects.get(name=f"{kind}s"))
    return made


def check(answer: Any, what: str) -> None:
    """No fault, nothing that is kept, nothing secret."""
    assert answer.status_code < 500, what
    if answer.streaming:
        return
    text = answer.content.decode(errors="replace") + str(answer.headers)
    digest = Token.objects.values_list("digest", flat=True)
    for secret in (OPTION, BODY, PASSWORD, settings.SECRET_KEY, str(BASE_DIR), "site-packages", "Traceback (", *digest):
        assert secret not in text, (what, secret)
    if "jsi18n" not in what:
        assert "no-store" in answer.headers["Cache-Control"], what


def closed(answer: Any) -> bool:
    """Whether it is not a page: a refusal, nothing there, or elsewhere."""
    return answer.status_code in {301, 302, 401, 403, 404, 405}


def wrong(address: Address, who: User | None, answer: Any) -> bool:
    if address.may(who):  # which a page for nobody refuses still: most records are added and deleted by no hand
        refused = answer.status_code in {401, 403} and not address.name.endswith(("_add", "_delete"))
        return refused and address.name not in NEEDS
    return not closed(answer)


@pytest.mark.parametrize("kind", KINDS)
def test_admin(kind: str, ids: dict[str, object]) -> None:
    client, who = Client(raise_request_exception=False), somebody(kind)
    if who is not None:
        client.force_login(who)
    walked = addresses(ids)
    assert len(walked) > 80
    found: list[str] = []
    ways: list[tuple[str, dict[str, str]]] = [("GET", {}), ("POST", {}), ("GET", {"HX-Request": "true"})]
    if kind in PARTLY:
        del ways[2]
    for method, headers in ways:
        for address in walked:
            if address.name == "logout" or (kind in PARTLY and method == "POST" and address.may(who)):
                continue
            if headers and address.name.endswith(("_add", "_delete", "_history")):
                continue  # no part of a page asks for these
            answer = client.generic(method, address.path, headers=headers)
            what = f"{method} {address.path} ({address.name}) {headers} for {kind}: {answer.status_code}"
            check(answer, what)
            # Adding, changing and deleting have permissions of their own, which a form that is empty does not reach.
            if method == "GET" and wrong(address, who, answer):
                found.append(what)
            if method == "POST" and not address.may(who) and not closed(answer):
                found.append(what)
    assert not found
    assert not HEARD


@pytest.mark.parametrize("other", ["0" * 24, "f" * 32, "-1", "9" * 30, "%00", "é", "a%2Fb"])
def test_admin_with_ids_of_nothing(other: str, ids: dict[str, object], admin_client: Client) -> None:
    admin_client.raise_request_exception = False
    for address in addresses(ids, other):
        if other in address.path and address.name != "logout":
            check(admin_client.get(address.path), f"GET {address.path}")


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/metrics", "/api/v1/docs", "/api/v1/openapi.json", "/no", "/admin/r/1/x/"]
)
def test_the_rest_is_for_the_known_or_is_nothing(path: str, ids: dict[str, object]) -> None:
    answer = Client(raise_request_exception=False).get(path)
    check(answer, path)
    assert closed(answer)


@pytest.mark.parametrize("kind", KINDS)
def test_api(kind: str, ids: dict[str, object]) -> None:
    client, who = Client(raise_request_exception=False), somebody(kind)
    headers = {} if who is None else {"Authorization": f"Bearer {tokens.make(who)[1]}"}
    for (method, path), needed in OPERATIONS.items():
        named = ("http" if path.startswith("/handlers") else "orders") if method == "GET" else "no-such"
        job, failure = str(ids["jobs_job"]), str(ids["jobs_failure"]) if method == "GET" else "0" * 24
        task = ids["queuesite_backgroundtask"]
        asked = ROOT + path.format(
            name=named, job_id=job, failure_id=failure, attempt_id=ids["jobs_attempt"], worker_id="w1", task_id=task,
            silence_id="no-such",
        )  # fmt: skip
        asked += "?q=m1" if path == "/search" else ""
        for body in (b"", b"{}", b"[" * 200) if method != "GET" else (b"",):
            for more in ({}, {"HX-Request": "true"}) if kind == "superuser" else ({},):
                answer = client.generic(
                    method, asked, body, content_type="application/json", headers={**headers, **more}
                )
                what = f"{method} {asked} {body[:9]!r} for {kind}: {answer.status_code}"
                check(answer, what)
                if needed is not None and (who is None or not who.has_perms(needed)):
                    assert answer.status_code == (401 if who is None else 403), what
                else:
                    assert answer.status_code not in {401, 403, 405}, what
