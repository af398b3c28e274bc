"""A queue's handler: who may choose it, and that its secrets are shown to nobody."""

from __future__ import annotations

import html
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from structlog.testing import CapturingLogger

from queues import services
from queues.handlers.secrets import MASK
from queues.models import Queue
from queuesite import tokens
from queuesite.foundation.errors import InvalidInput
from tests.support.api import Api, everything, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

SECRET = "Bearer-s3cr3t"
OPTIONS = {"url": "https://example.com/hook", "headers": {"Authorization": SECRET}}
MASKED = {**OPTIONS, "headers": {"Authorization": MASK}}


@pytest.fixture
def hooked() -> Queue:
    return services.create("orders", settings={"handler": "http", "handler_options": OPTIONS})


def stored() -> Any:
    return services.get("orders").handler_options


def member(group: str) -> User:
    made = user(f"of-{group}", is_staff=True)
    made.groups.add(Group.objects.get(name=group))
    return made


def settings_of(queue: Queue) -> str:
    return reverse("admin:queues_queue_settings", args=[queue.name])


def form(**changes: Any) -> dict[str, Any]:
    given = {"concurrency": 5, "priority": 0, "max_consumers": 1, "visibility_timeout": 30, "max_receive_count": 5}
    return {**given, **changes}


class TestPermission:
    @pytest.mark.parametrize(
        "body", [{"handler": "simulate"}, {"handlerOptions": {}}, {"handler": "log", "priority": 3}]
    )
    def test_operator_changes_no_handler_by_the_api(self, body: dict[str, Any]) -> None:
        services.create("orders")
        api = Api(tokens.make(member("operators"))[1])

        assert "queues.change_handler" in api.patch("/queues/orders", body).problem(403)["detail"]
        api.patch("/queues/orders", {"concurrency": 3}).ok()

        queue = services.get("orders")
        assert (queue.handler, queue.priority, queue.concurrency) == ("log", 0, 3)

    def test_whoever_may_only_add_queues_chooses_no_handler(self) -> None:
        api = Api(tokens.make(user("ada", ["queues.add_queue"]))[1])
        api.post("/queues", {"name": "orders", "handler": "http", "handlerOptions": OPTIONS}).problem(403)
        api.post("/queues", {"name": "orders"}).ok()

    def test_administrator_changes_it(self) -> None:
        services.create("orders")
        api = Api(tokens.make(member("administrators"))[1])
        assert api.patch("/queues/orders", {"handler": "simulate"}).ok()["handler"] == "simulate"

    def test_operator_sees_it_in_the_form_and_changes_the_rest(self, hooked: Queue, client: Client) -> None:
        client.force_login(member("operators"))
        shown = html.unescape(client.get(settings_of(hooked)).content.decode())
        assert 'name="handler"' not in shown
        assert MASK in shown
        assert SECRET not in shown

        sent = form(concurrency=2, handler="log", handler_options="{}")
        assert client.post(settings_of(hooked), sent).status_code == 302

        queue = services.get("orders")
        assert (queue.concurrency, queue.handler, queue.handler_options) == (2, "http", OPTIONS)

    def test_groups(self) -> None:
        may = {
            name: member(name).has_perm("queues.change_handler") for name in ("viewers", "operators", "administrators")
        }
        assert may == {"viewers": False, "operators": False, "administrators": True}


class TestSecrets:
    def test_reads_are_masked(self, hooked: Queue, client: Client) -> None:
        api = everything()
        for answer in (api.get("/queues/orders"), api.get("/queues"), api.patch("/queues/orders", {"priority": 1})):
            assert SECRET not in answer.text
        assert api.get("/queues/orders").ok()["handlerOptions"] == MASKED
        client.force_login(User.objects.get(username="root"))
        for name in ("change", "settings", "messages", "history"):
            page = client.get(reverse(f"admin:queues_queue_{name}", args=[hooked.name])).content.decode()
            assert SECRET not in page
        client.force_login(member("viewers"))
        assert SECRET not in client.get(settings_of(hooked)).content.decode()
        out = StringIO()
        call_command("sqs", "list", "--json", stdout=out)
        assert json.loads(out.getvalue())[0]["handlerOptions"] == MASKED

    def test_mask_written_back_keeps_the_secret(self, hooked: Queue, client: Client) -> None:
        api = everything()
        api.patch("/queues/orders", {"handlerOptions": {**MASKED, "timeout": 3}}).ok()
        assert stored() == {**OPTIONS, "timeout": 3}

        api.patch("/queues/orders", {"handlerOptions": {**MASKED, "url": "https://evil.example.com"}}).problem(422)
        assert stored() == {**OPTIONS, "timeout": 3}

        client.force_login(User.objects.get(username="root"))
        options = {
            f"handler_options.http.{name}": value
            for name, value in {"url": OPTIONS["url"], "headers": json.dumps(MASKED["headers"]), "timeout": "4"}.items()
        }
        assert client.post(settings_of(hooked), form(handler="http", **options)).status_code == 302
        assert stored() == {**OPTIONS, "timeout": 4}
        assert SECRET not in str([entry.get_change_message() for entry in LogEntry.objects.all()])

    def test_mask_is_no_value_of_a_new_queue(self) -> None:
        with pytest.raises(InvalidInput, match="stands for the stored value"):
            services.create("new", settings={"handler": "http", "handler_options": MASKED})

    def test_another_handler_takes_no_secrets_over(self, hooked: Queue) -> None:
        with pytest.raises(InvalidInput, match="hold secrets"):
            services.update("orders", {"handler": "simulate"})
        services.update("orders", {"handler": "log", "handler_options": {}})

    def test_log_names_settings_only(self, hooked: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        log = CapturingLogger()
        monkeypatch.setattr(services, "log", log)

        services.update("orders", {"handler_options": {**OPTIONS, "timeout": 5}, "priority": 2})

        [call] = log.calls
        assert (call.args, call.kwargs["settings"]) == (("queue_changed",), ["handler_options", "priority"])
        assert SECRET not in str(call)

    def test_options_of_a_handler_that_is_gone_are_masked(self, hooked: Queue) -> None:
        from queues import repository

        repository.update(hooked.id, {"handler": "gone"})
        assert everything().get("/queues/orders").ok()["handlerOptions"] == {
            "url": MASK,
            "headers": {"Authorization": MASK},
        }

    @pytest.mark.parametrize("source", ["file", "stdin"])
    def test_command_line_reads_options_from_a_file(
        self, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "options.json"
        path.write_text(json.dumps(OPTIONS))
        monkeypatch.setattr("sys.stdin", StringIO(json.dumps(OPTIONS)))

        named = str(path) if source == "file" else "-"
        call_command("sqs", "create", "orders", "--handler", "http", "--handler-options-file", named)

        assert stored() == OPTIONS

    def test_command_line_names_a_file_that_cannot_be_read(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            call_command("sqs", "create", "orders", "--handler-options-file", "/no/such")
        assert "cannot be read" in capsys.readouterr().err
