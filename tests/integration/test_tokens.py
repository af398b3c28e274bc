"""Tokens on the command line and in the admin: shown once, kept as a hash, revocable."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from queuesite import tokens
from queuesite.models import BackgroundTask, Token
from tests.conftest import Configure
from tests.support.api import Api, user
from tests.support.processes import manage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

SHAPE = re.compile(r"qs_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def ada() -> User:
    return user("ada", ["queues.view_queue"])


def token(*args: str) -> tuple[str, str]:
    """`manage.py token …`: what it writes to both streams."""
    out, err = StringIO(), StringIO()
    call_command("token", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


class TestCommand:
    def test_create_prints_the_token_alone(self, ada: User) -> None:
        out, err = token("create", "ada", "--name", "deploy")

        text = out.removesuffix("\n")
        assert SHAPE.fullmatch(text)
        assert "cannot be shown again" in err
        assert text not in err
        assert Api(text).get("/queues").status == 200
        row = Token.objects.get()
        assert text.split("_")[1] == row.prefix
        assert (row.name, row.read_only) == ("deploy", False)
        assert row.expires_at is not None
        assert timedelta(days=89.9) < row.expires_at - timezone.now() <= timedelta(days=90)
        assert text not in json.dumps({k: str(v) for k, v in vars(row).items()})

    def test_one_that_never_expires_is_asked_for(self, ada: User) -> None:
        _, err = token("create", "ada", "--expires", "never")

        assert Token.objects.get().expires_at is None
        assert "never expires" in err

    def test_read_only_and_expiry(self, ada: User) -> None:
        _, err = token("create", "ada", "--read-only", "--expires", "30")

        row = Token.objects.get()
        assert row.read_only
        assert row.expires_at is not None
        assert timedelta(days=29.9) < row.expires_at - timezone.now() <= timedelta(days=30)
        assert "read-only token" in err

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["create", "nobody"], "there is no user 'nobody'"),
            (["revoke", "nope"], "there is no token with the prefix 'nope'"),
        ],
    )
    def test_wrong_names(self, args: list[str], words: str) -> None:
        with pytest.raises(CommandError, match=words) as error:
            token(*args)

        assert error.value.returncode == 2

    def test_inactive_user(self, ada: User) -> None:
        User.objects.update(is_active=False)

        with pytest.raises(CommandError, match="not active"):
            token("create", "ada")

    @pytest.mark.parametrize("days", ["0", "3651", "x"])
    def test_days_out_of_range(self, days: str, ada: User, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            token("create", "ada", "--expires", days)

        assert ended.value.code == 2
        assert "from 1 to 3650" in capsys.readouterr().err
        assert not Token.objects.exists()

    def test_list(self, ada: User) -> None:
        text = tokens.make(ada, name="deploy")[1]
        old = tokens.make(ada, expires_at=timezone.now() - timedelta(days=1))[0]
        gone = tokens.make(ada)[0]
        tokens.revoke(gone.prefix)

        rows = {row["prefix"]: row for row in json.loads(token("list", "--json")[0])}

        assert {rows[old.prefix]["state"], rows[gone.prefix]["state"]} == {"expired", "revoked"}
        assert rows[text.split("_")[1]]["state"] == "valid"
        table = token("list")[0]
        assert "deploy" in table
        assert "read and write" in table
        assert text not in table + token("list", "--json")[0]

    def test_list_of_none(self) -> None:
        assert "no tokens" in token("list")[0]

    def test_revoke(self, ada: User) -> None:
        row, text = tokens.make(ada)

        assert "revoked" in token("revoke", row.prefix)[0]

        Api(text).get("/queues").problem(401)
        first = Token.objects.get().revoked_at
        token("revoke", row.prefix)
        assert Token.objects.get().revoked_at == first

    def test_as_a_process(self) -> None:
        answer = manage("token", "create", "nobody", env={"DATABASE_URL": "sqlite:///:memory:"})

        assert answer.returncode == 1
        assert answer.stdout == ""
        assert "manage.py migrate" in answer.stderr
        assert answer.stderr.count("\n") == 1


def test_use_is_recorded_to_the_minute(ada: User) -> None:
    row, text = tokens.make(ada)
    assert row.last_used_at is None

    Api(text).get("/queues").ok()
    first = Token.objects.get().last_used_at
    assert first is not None
    Api(text).get("/queues").ok()
    assert Token.objects.get().last_used_at == first

    Token.objects.update(last_used_at=first - timedelta(minutes=2))
    Api(text).get("/queues").ok()
    assert Token.objects.get().last_used_at > first - timedelta(minutes=1)  # type: ignore[operator]


def test_tokens_are_unlike(ada: User) -> None:
    made = {tokens.make(ada)[1] for _ in range(20)}

    assert len({text.split("_", 2)[2] for text in made}) == 20


class TestAdmin:
    ADD = reverse("admin:queuesite_token_add")
    LIST = reverse("admin:queuesite_token_changelist")

    @pytest.fixture
    def admin(self, client: Client) -> Client:
        client.force_login(User.objects.create_superuser("root", password="x"))
        return client

    def form(self, owner: User, **values: Any) -> dict[str, Any]:
        return {"user": owner.pk, "name": "deploy", "expires": "90", "expires_on": "", **values}

    def test_token_is_shown_once(self, admin: Client, ada: User) -> None:
        page = admin.post(self.ADD, self.form(ada), follow=True).content.decode()

        [text] = SHAPE.findall(page)  # nor in the box that finds everything
        assert Api(text).get("/queues").status == 200
        row = Token.objects.get()
        assert row.prefix in page
        for again in (self.LIST, reverse("admin:queuesite_token_change", args=[row.pk])):
            assert not SHAPE.search(admin.get(again).content.decode())

    def test_token_goes_through_no_cookie_and_no_session(self, admin: Client, ada: User) -> None:
        answer = admin.post(self.ADD, self.form(ada))

        (text,) = set(SHAPE.findall(answer.content.decode()))
        assert answer.status_code == 200
        assert "no-store" in answer.headers["Cache-Control"]
        assert text not in str(answer.cookies) + str(dict(admin.session))

    def test_form_offers_ends_in_words_and_oneself(self, admin: Client, configure: Configure) -> None:
        configure(token_days=45)
        form = admin.get(self.ADD).context["adminform"].form
        assert [words for _, words in form.fields["expires"].choices] == [
            "in 7 days", "in 30 days", "in 45 days (the default)", "in 90 days", "in 365 days", "on a certain day",
            "never: until its user's password changes",
        ]  # fmt: skip
        assert form["expires"].value() == "45"
        assert form["user"].value() == User.objects.get(username="root").pk

    @pytest.mark.parametrize(
        ("values", "end"),
        [
            ({"expires": "7"}, ""),
            ({"expires": "never", "expires_on": "2100-01-01"}, "never"),
            ({"expires": "day", "expires_on": "2100-01-01"}, "2100-01-01T23:59:59Z"),
        ],
    )
    def test_end_that_was_chosen(self, admin: Client, ada: User, values: dict[str, str], end: str) -> None:
        admin.post(self.ADD, self.form(ada, read_only="on", **values))

        row = Token.objects.get()
        assert row.read_only
        assert (row.expires_at is None) is (end == "never")
        if not end:
            assert row.expires_at is not None
            assert timedelta(days=6.9) < row.expires_at - timezone.now() <= timedelta(days=7)
            end = f"{row.expires_at:%Y-%m-%d}"
        assert end in admin.get(self.LIST).content.decode()

    @pytest.mark.parametrize("day", ["", "2020-01-01", "soon"])
    def test_day_that_cannot_be(self, admin: Client, ada: User, day: str) -> None:
        answer = admin.post(self.ADD, self.form(ada, expires="day", expires_on=day))
        assert set(answer.context["adminform"].form.errors) == {"expires_on"}
        assert not Token.objects.exists()

    def test_token_is_not_changed(self, admin: Client, ada: User) -> None:
        row = tokens.make(ada, read_only=True)[0]

        admin.post(reverse("admin:queuesite_token_change", args=[row.pk]), self.form(ada))

        assert Token.objects.get().read_only

    def test_revoke(self, admin: Client, ada: User) -> None:
        row, text = tokens.make(ada)
        already = tokens.make(ada)[0]
        tokens.revoke(already.prefix)

        page = admin.post(
            self.LIST, {"action": "revoke", "sure": "yes", "_selected_action": [row.pk, already.pk]}, follow=True
        ).content.decode()

        assert "1 revoked, 1 revoked already" in page
        Api(text).get("/queues").problem(401)

    def test_nobody_makes_himself_an_administrator(self, client: Client, ada: User) -> None:
        """A token has its user's permissions, so whoever is not a superuser makes them for himself alone."""
        root = User.objects.create_superuser("root", password="x")
        clerk = user("clerk", ["queuesite.add_token", "queuesite.view_token"], is_staff=True)
        client.force_login(clerk)

        client.post(self.ADD, self.form(root))
        assert not Token.objects.exists()
        client.post(self.ADD, self.form(clerk))
        assert Token.objects.get().user == clerk

    def test_tasks_are_shown(self, admin: Client) -> None:
        task = BackgroundTask.objects.create(kind="sync", owner=user("ada"), arguments={"secret": "body"})

        assert "sync" in admin.get(reverse("admin:queuesite_backgroundtask_changelist")).content.decode()
        page = admin.get(reverse("admin:queuesite_backgroundtask_change", args=[task.pk])).content.decode()
        assert "secret" not in page


class TestEnd:
    """What a token does not survive."""

    def test_password_of_its_user_changed(self, ada: User) -> None:
        text = tokens.make(ada)[1]
        ada.set_password("another")
        ada.save()
        assert tokens.find(text) is None

    def test_password_that_is_only_hashed_anew_ends_nothing(self, ada: User, settings: Any) -> None:
        ada.set_password("right")
        ada.save()
        text = tokens.make(ada)[1]
        settings.PASSWORD_HASHERS = [
            "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher", "django.contrib.auth.hashers.MD5PasswordHasher",
        ]  # fmt: skip
        before = ada.password
        assert ada.check_password("right")
        assert ada.password != before
        assert tokens.find(text) is not None

    def test_user_deactivated_and_made_active_again(self, ada: User) -> None:
        text = tokens.make(ada)[1]
        for active in (False, True):
            ada.is_active = active
            ada.save()
        assert tokens.find(text) is None
