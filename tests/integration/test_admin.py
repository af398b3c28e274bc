"""The site's own pages in the admin, the three groups, and what guards the door."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule

from queuesite import __version__, tasks, tokens
from queuesite.foundation import markup
from queuesite.models import BackgroundTask, TaskState, Token
from queuesite.templatetags import quantities
from tests.integration.test_api_permissions import OPERATIONS
from tests.support.api import user
from tests.support.processes import manage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

TASKS = reverse("admin:queuesite_backgroundtask_changelist")
TOKENS = reverse("admin:queuesite_token_changelist")
SCHEDULES = reverse("admin:django_q_schedule_changelist")
LOGIN = reverse("admin:login")
#: Every list of the admin that the site itself has.
LISTS = [
    f"admin:{name}_changelist"
    for name in (
        "queuesite_backgroundtask", "queuesite_token", "auth_user", "auth_group", "admin_logentry",
        "axes_accessattempt", "django_q_schedule", "django_q_success", "django_q_failure", "django_q_ormq",
    )
]  # fmt: skip

#: What operators may do by the API that viewers may not, and so on.
OPERATORS_MORE = {
    ("PATCH", "/queues/{name}"), ("POST", "/queues/{name}/pause"), ("POST", "/queues/{name}/resume"),
    ("POST", "/queues/{name}/notify"), ("POST", "/queues/{name}/try-now"), ("POST", "/sync"),
    ("POST", "/queues/{name}/messages"),
    ("POST", "/queues/{name}/messages/bulk"), ("POST", "/queues/{name}/dead-letters/redrive"),
    ("DELETE", "/failures/{failure_id}"), ("POST", "/workers/{worker_id}/drain"),
    ("POST", "/queues/{name}/messages/peek"), ("POST", "/queues/{name}/dead-letters/peek"),
    ("PATCH", "/workers/{worker_id}"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/undo"),
    ("POST", "/silences"), ("DELETE", "/silences/{silence_id}"), ("POST", "/notices/test"),
}  # fmt: skip
ADMINISTRATORS_MORE = {
    ("POST", "/queues"), ("DELETE", "/queues/{name}"), ("POST", "/purge"), ("POST", "/queues/{name}/purge"),
}  # fmt: skip


def member(group: str, name: str = "") -> User:
    made = User.objects.create_user(name or group[:-1], is_staff=True)
    made.groups.add(Group.objects.get(name=group))
    return made


def logged_in(who: User) -> Client:
    client = Client()
    client.force_login(who)
    return client


@pytest.mark.parametrize("name", LISTS)
def test_every_list_opens_and_an_empty_one_does_not_ask_for_what_nobody_may(admin_client: Client, name: str) -> None:
    page = admin_client.get(reverse(name))
    assert page.status_code == 200
    assert "Create a new item" not in page.content.decode()
    assert Client().get(reverse(name)).status_code == 302
    assert logged_in(user("nobody", is_staff=True)).get(reverse(name)).status_code == 403


class TestGroups:
    @staticmethod
    def _may(group: str) -> set[tuple[str, str]]:
        who = member(group)
        return {operation for operation, needed in OPERATIONS.items() if who.has_perms(needed or set())}

    def test_each_may_what_its_name_says(self) -> None:
        before_adopting = {("GET", "/discover")}
        reading = {operation for operation in OPERATIONS if operation[0] == "GET"} - before_adopting
        logged = {("GET", "/attempts"), ("GET", "/attempts/{attempt_id}")}  # what handlers log may be of messages

        assert self._may("viewers") == reading - logged
        assert self._may("operators") == reading | OPERATORS_MORE
        assert self._may("administrators") == set(OPERATIONS)

    @pytest.mark.parametrize(
        ("group", "lists"),
        [("viewers", LISTS[:1]), ("operators", LISTS[:1]), ("administrators", LISTS)],
    )
    def test_pages_of_the_site(self, group: str, lists: list[str]) -> None:
        client = logged_in(member(group))
        assert [name for name in LISTS if client.get(reverse(name)).status_code == 200] == lists

    def test_no_administrator_becomes_a_superuser(self) -> None:
        root = User.objects.create_superuser("root", password="x")
        administrator = member("administrators")
        client = logged_in(administrator)
        page = reverse("admin:auth_user_change", args=[administrator.pk])
        own = {"username": "administrator", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
        assert client.post(page, own).status_code == 302
        administrator.refresh_from_db()
        assert not administrator.is_superuser

        # Nor by the password of one, nor by a token of one's, nor by a function of the system's choice.
        assert client.get(reverse("admin:auth_user_password_change", args=[root.pk])).status_code == 403
        theirs = reverse("admin:auth_user_change", args=[root.pk])
        assert client.post(theirs, {"username": "mine"}).status_code == 403
        assert client.post(reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403
        client.post(reverse("admin:queuesite_token_add"), {"user": root.pk, "name": "x"})
        assert not Token.objects.exists()
        assert client.get(reverse("admin:django_q_schedule_add")).status_code == 403
        assert User.objects.get(pk=root.pk).username == "root"

    def test_offered_permissions_are_those_that_something_asks_for(self, admin_client: Client) -> None:
        page = admin_client.get(reverse("admin:auth_group_add"))
        offered = {
            f"{permission.content_type.app_label}.{permission.codename}"
            for permission in page.context["adminform"].form.fields["permissions"].queryset
        }
        assert {permission for needed in OPERATIONS.values() for permission in needed or ()} < offered
        assert "django_q.add_schedule" not in offered
        assert "sessions.view_session" not in offered

    def test_superuser_makes_one(self, admin_client: Client) -> None:
        other = user("other", is_staff=True)
        page = reverse("admin:auth_user_change", args=[other.pk])
        joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        fields = {"username": "other", "is_active": "on", "is_staff": "on", "is_superuser": "on", **joined}
        assert admin_client.post(page, fields).status_code == 302
        other.refresh_from_db()
        assert other.is_superuser


def test_deleting_says_what_goes_along_and_keeps_the_log(admin_client: Client) -> None:
    bob = member("operators", "bob")
    tokens.make(bob)
    group = Group.objects.get(name="operators")
    question = admin_client.get(reverse("admin:auth_user_delete", args=[bob.pk])).content.decode()
    assert "Delete the user bob?" in question
    assert "This also deletes tokens (1). You cannot undo this." in question
    assert "relationship" not in question
    question = admin_client.get(reverse("admin:auth_group_delete", args=[group.pk])).content.decode()
    assert "1 user is in it" in question
    assert "relationship" not in question
    history = admin_client.get(reverse("admin:auth_group_history", args=[group.pk])).content.decode()
    assert "Nobody has changed this group in the admin yet." in history
    LogEntry.objects.log_actions(str(bob.pk), [group], CHANGE, "Changed.")
    assert "Changed." in admin_client.get(reverse("admin:auth_group_history", args=[group.pk])).content.decode()
    assert "Turn Active off" in admin_client.get(reverse("admin:auth_user_delete", args=[bob.pk])).content.decode()
    chosen = {"action": "delete_selected", "_selected_action": [bob.pk]}
    several = admin_client.post(reverse("admin:auth_user_changelist"), chosen).content.decode()
    assert "cannot be deleted" in several
    gone = admin_client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"}, follow=True)
    assert "The group “operators” is deleted." in gone.content.decode()


class TestTokens:
    def test_shown_once_revoked_and_logged(self) -> None:
        who = member("administrators")
        client = logged_in(who)
        made = client.post(reverse("admin:queuesite_token_add"), {"user": who.pk, "expires": "90"}, follow=True)
        token = Token.objects.get()
        assert f"qs_{token.prefix}_" in made.content.decode()
        assert f"qs_{token.prefix}_" not in client.get(TOKENS).content.decode()
        assert "valid" in client.get(TOKENS).content.decode()

        action = {"action": "revoke", "_selected_action": [token.pk]}
        assert "Revoke 1 token?" in client.post(TOKENS, action, follow=True).content.decode()
        assert Token.objects.get().revoked_at is None
        action["sure"] = "yes"
        assert "1 revoked" in client.post(TOKENS, action, follow=True).content.decode()
        assert "0 revoked, 1 revoked already" in client.post(TOKENS, action, follow=True).content.decode()

        said = [(entry.user.username, entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]
        assert said == [("administrator", "Created."), ("administrator", "Revoked.")]
        log = client.get(reverse("admin:admin_logentry_changelist")).content.decode()
        assert "Revoked." in log

    def test_one_is_looked_at_and_not_changed(self, admin_client: Client) -> None:
        token, _ = tokens.make(user("owner"), name="ci")
        page = reverse("admin:queuesite_token_change", args=[token.pk])
        assert token.prefix in admin_client.get(page).content.decode()
        assert admin_client.post(page, {"name": "other"}).status_code == 403


class TestBackgroundTasks:
    def test_progress_result_and_error(self, admin_client: Client) -> None:
        running = BackgroundTask.objects.create(kind="purge", state=TaskState.RUNNING, done=3, total=10)
        running.started_at = timezone.now()
        running.save()
        page = admin_client.get(TASKS).content.decode()
        assert '<progress max="10" value="3"' in page
        assert "3 of 10" in page
        detail = reverse("admin:queuesite_backgroundtask_change", args=[running.pk])
        assert "data-live=" in admin_client.get(detail).content.decode()

        running.state, running.error = TaskState.FAILED, "<script>alert(1)</script>"
        running.result, running.ended_at = {"purged": ["<b>"]}, timezone.now()
        running.save()
        ended = admin_client.get(detail).content.decode()
        assert "<script>alert(1)" not in ended
        assert "&lt;b&gt;" in ended
        assert "data-live=" not in ended
        assert admin_client.get(reverse("admin:queuesite_backgroundtask_change", args=["0" * 32])).status_code == 404

    def test_one_that_nobody_runs_names_the_command(self, admin_client: Client) -> None:
        task = BackgroundTask.objects.create(kind="sync")
        assert "qcluster" not in admin_client.get(TASKS).content.decode()
        BackgroundTask.objects.filter(pk=task.pk).update(created_at=timezone.now() - timedelta(minutes=1))
        page = admin_client.get(TASKS).content.decode()
        assert "manage.py qcluster" in page
        assert f'<footer class="qs-footer">Queuesite {__version__}</footer>' in page
        assert tasks.newest(None, 5) == [task]


class TestSchedules:
    def test_timing_can_be_changed_and_what_is_run_cannot(self) -> None:
        schedule = Schedule.objects.get(func="queues.tasks.sync_queues")
        client = logged_in(member("administrators"))
        page = reverse("admin:django_q_schedule_change", args=[schedule.pk])
        fields = {
            "name": "evil", "func": "os.system", "schedule_type": "D", "repeats": -1,
            "next_run_0": "2030-01-01", "next_run_1": "00:00:00",
        }  # fmt: skip
        assert client.post(page, fields).status_code == 302
        schedule.refresh_from_db()
        assert (schedule.func, schedule.schedule_type) == ("queues.tasks.sync_queues", "D")
        assert (
            client.post(reverse("admin:django_q_schedule_delete", args=[schedule.pk]), {"post": "yes"}).status_code
            == 403
        )

        answer = client.post(SCHEDULES, {"action": "run_now", "_selected_action": [schedule.pk]}, follow=True)

        assert "1 due" in answer.content.decode()
        schedule.refresh_from_db()
        assert abs(schedule.next_run - timezone.now()) < timedelta(minutes=1)
        assert LogEntry.objects.filter(object_repr=str(schedule), change_message__contains="Made due").exists()


class TestTheDoor:
    def log_in(self, client: Client, password: str) -> Any:
        return client.post(LOGIN, {"username": "viewer", "password": password, "next": "/admin/"})

    def test_guessing_ends_after_five_attempts_until_somebody_helps(self, admin_client: Client) -> None:
        User.objects.create_user("viewer", password="right", is_staff=True)
        stranger = Client()
        for _ in range(4):
            assert self.log_in(stranger, "wrong").status_code == 200
        locked = self.log_in(stranger, "wrong")
        assert locked.status_code == 429
        assert "Too many attempts" in locked.content.decode()
        assert self.log_in(stranger, "right").status_code == 429  # the right one tells nothing any more

        # Nobody else is kept out: not others from here, nor this user from elsewhere.
        elsewhere = Client(REMOTE_ADDR="192.0.2.7")
        assert self.log_in(elsewhere, "right").status_code == 302

        attempts = reverse("admin:axes_accessattempt_changelist")
        assert "viewer" in admin_client.get(attempts).content.decode()
        chosen = list(AccessAttempt.objects.filter(username="viewer").values_list("pk", flat=True))
        assert "wrong" not in str(list(AccessAttempt.objects.values()))
        admin_client.post(attempts, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
        assert self.log_in(stranger, "right").status_code == 302

    def test_a_login_without_a_destination_leads_to_the_admin(self, client: Client) -> None:
        User.objects.create_user("viewer", password="right", is_staff=True)
        answer = client.post(LOGIN, {"username": "viewer", "password": "right"})
        assert answer.headers["Location"] == reverse("admin:index")

    @pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/api/v1/docs", "/no-such-page"])
    def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(self, admin_client: Client, path: str) -> None:
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in admin_client.get(path, follow=True).headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'self'"
        assert policy["script-src"] == "'self' 'unsafe-eval'"
        assert policy["frame-ancestors"] == policy["object-src"] == "'none'"

    def test_ready_for_deployment(self) -> None:
        checked = manage(
            "check", "--deploy", "--fail-level", "WARNING",
            env={
                "DEBUG": "0", "SECRET_KEY": "".join(map(chr, range(48, 112))), "ALLOWED_HOSTS": "queues.example.com",
                "CSRF_TRUSTED_ORIGINS": "https://queues.example.com", "BEHIND_TLS_PROXY": "1",
            },
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr
        assert "no issues" in checked.stdout


@pytest.mark.parametrize("text", ["<script>", '"<script>"', '{"<b>": [1, null]}', "[" * 100_000, ""])
def test_bodies_are_escaped_whatever_they_are(text: str) -> None:
    from django.utils.html import conditional_escape

    shown = conditional_escape(markup.body(text))
    assert "<script" not in shown
    assert "<b>" not in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "\u2013"), (0, "0 s"), (0.0004, "0 s"), (0.0312, "0.031 s"), (3.04, "3 s"), (59.7, "1 min"),
        (42, "42 s"), (185, "3 min 5 s"), (3_600, "1 h"), (7_260, "2 h 1 min"), (187_200, "2 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert quantities.duration(seconds) == shown


def test_numbers() -> None:
    assert [quantities.count(n) for n in (None, 0, 1_234_567)] == ["\u2013", "0", "1,234,567"]
    assert [quantities.rate(n) for n in (None, 0, 0.1234, 12.345, 1_234.5)] == ["\u2013", "0", "0.123", "12.3", "1,234"]
