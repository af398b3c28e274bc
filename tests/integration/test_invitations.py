"""Invitations: a user with a role in one form, a link that works once, and no way to give more than one has."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core import mail
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from tests.conftest import Configure
from tests.support.api import user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

INVITE = reverse("admin:auth_user_invite")
LINK = re.compile(r"http://testserver(/admin/invitation/[^<\s]+)")
ROLES = ["viewers", "operators", "administrators"]


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


def group(name: str) -> Group:
    return Group.objects.get(name=name)


def member(name: str, *permissions: str) -> User:
    made = user(f"of-{name}", permissions, is_staff=True)
    made.groups.add(group(name))
    return made


def send(client: Client, **values: Any) -> Any:
    return client.post(INVITE, {"username": "ada", "email": "", "role": group("viewers").pk, **values})


def offered(answer: Any) -> list[str]:
    return [str(words).partition(":")[0] for _, words in answer.context["form"].fields["role"].choices]


def set_password(path: str, password: str, again: str | None = None) -> Any:
    """Open a link in a browser of its own, and set the password."""
    browser = Client()
    opened = browser.get(path, follow=True)
    if not opened.context["validlink"]:
        return opened
    values = {"new_password1": password, "new_password2": password if again is None else again}
    return browser.post(opened.redirect_chain[-1][0], values, follow=True)


def test_a_colleague_gets_a_role_and_sets_a_password_by_a_link_that_works_once(admin: Client) -> None:
    page = admin.get(INVITE)
    assert offered(page) == ROLES
    assert "viewers: see everything but messages" in page.content.decode()

    answer = send(admin, email="ada@example.com", role=group("operators").pk)

    made = User.objects.get(username="ada")
    assert (made.email, made.is_staff, made.is_superuser, made.has_usable_password()) == (
        "ada@example.com", True, False, False,
    )  # fmt: skip
    assert [one.name for one in made.groups.all()] == ["operators"]
    shown = answer.content.decode()
    [path] = LINK.findall(shown)
    assert "data-copy=link" in shown
    assert "expires in 3 days" in shown
    assert "no-store" in answer.headers["Cache-Control"]
    token = path.rstrip("/").rpartition("/")[2]
    assert token not in str(answer.cookies) + str(dict(admin.session))
    logged = LogEntry.objects.get(object_id=str(made.pk))
    assert logged.change_message == "Invited as operators."

    assert set(set_password(path, "a-long-password", "another-password").context["form"].errors) == {"new_password2"}
    inside = set_password(path, "a-long-password")
    assert inside.redirect_chain[-1][0] == reverse("admin:index")
    assert inside.context["user"] == made
    assert "has been used" in set_password(path, "another-long-password").content.decode()
    made.refresh_from_db()
    assert made.check_password("a-long-password")


def test_a_link_ends_with_its_time(admin: Client, settings: Any) -> None:
    [path] = LINK.findall(send(admin).content.decode())
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "has expired" in set_password(path, "a-long-password").content.decode()


def test_the_address_is_the_name_if_none_is_given(admin: Client) -> None:
    send(admin, username="", email="ada@example.com")
    assert User.objects.get(username="ada@example.com").email == "ada@example.com"


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"username": ""}, "username", "Enter a user name or an e-mail address"),
        ({"username": "ROOT"}, "username", "already"),
        ({"username": "a b"}, "username", "valid username"),
        ({"email": "nowhere"}, "email", "valid email"),
        ({"role": ""}, "role", "required"),
        ({"role": 4711}, "role", "valid choice"),
    ],
)
def test_bad_values_are_told_at_their_fields(admin: Client, values: dict[str, Any], field: str, words: str) -> None:
    errors = send(admin, **values).context["form"].errors
    assert set(errors) == {field}
    assert words in errors[field][0]
    assert User.objects.count() == 1


def link_for(client: Client, of: User) -> Any:
    return client.post(reverse("admin:auth_user_password_link", args=[of.pk]))


class TestForgottenPassword:
    def test_an_existing_user_gets_a_link_that_works_once(self, admin: Client) -> None:
        ada = member("operators")
        ada.set_password("forgotten-password")
        ada.save()
        page = admin.get(reverse("admin:auth_user_change", args=[ada.pk])).content.decode()
        address = reverse("admin:auth_user_password_link", args=[ada.pk])
        assert address in page
        assert not LINK.search(admin.get(address).content.decode())  # it asks first
        assert not LogEntry.objects.exists()

        answer = link_for(admin, ada)

        shown = answer.content.decode()
        [path] = LINK.findall(shown)
        assert "data-copy=link" in shown
        assert "expires in 3 days" in shown
        assert "no-store" in answer.headers["Cache-Control"]
        logged = LogEntry.objects.get()
        assert (logged.object_id, logged.user.username) == (str(ada.pk), "root")
        assert logged.change_message == "Made a link to set a new password."
        ada.refresh_from_db()
        assert ada.check_password("forgotten-password")  # until the link is used
        assert set_password(path, "a-long-password").context["user"] == ada
        assert "has been used" in set_password(path, "another-long-password").content.decode()

    def test_who_may_do_more_or_is_not_active_gets_none(self, client: Client, admin: Client) -> None:
        clerk = member("viewers", "auth.view_user", "auth.change_user")
        colleague = User.objects.create_user("colleague", is_staff=True)
        boss, root = member("administrators"), User.objects.get(username="root")
        client.force_login(clerk)
        assert LINK.search(link_for(client, colleague).content.decode())
        for other in (boss, root):
            assert link_for(client, other).status_code == 403
            assert (
                "password-link" not in client.get(reverse("admin:auth_user_change", args=[other.pk])).content.decode()
            )
        User.objects.filter(pk=colleague.pk).update(is_active=False)
        assert link_for(client, colleague).status_code == 403
        client.force_login(user("reader", ["auth.view_user"], is_staff=True))
        assert link_for(client, boss).status_code == 403
        assert LogEntry.objects.count() == 1


class TestPermission:
    @pytest.mark.parametrize("name", ["viewers", "operators"])
    def test_who_may_not_add_users_invites_nobody(self, client: Client, name: str) -> None:
        client.force_login(member(name))
        assert client.get(INVITE).status_code == 403
        assert send(client).status_code == 403
        assert not User.objects.filter(username="ada").exists()

    def test_nobody_gives_a_role_with_more_than_they_may_do_themselves(self, client: Client) -> None:
        clerk = member("viewers", "auth.view_user", "auth.add_user", "auth.change_user")
        client.force_login(clerk)
        assert offered(client.get(INVITE)) == ["viewers"]
        for name in ("operators", "administrators"):
            assert "role" in send(client, role=group(name).pk).context["form"].errors
        assert LINK.search(send(client).content.decode())

        # Nor by the form of users, where others' groups and passwords are.
        ada = User.objects.get(username="ada")
        change = reverse("admin:auth_user_change", args=[ada.pk])
        answer = client.post(change, {"username": "ada", "is_staff": "on", "groups": [group("administrators").pk]})
        assert "groups" in answer.context["adminform"].form.errors
        boss = member("administrators")
        for page in ("change", "password_change"):
            address = reverse(f"admin:auth_user_{page}", args=[boss.pk])
            assert (
                client.post(address, {"password1": "a-long-password", "password2": "a-long-password"}).status_code
                == 403
            )

    def test_an_administrator_gives_every_predefined_role_but_no_greater_one(self, client: Client) -> None:
        greater = Group.objects.create(name="greater")
        greater.permissions.set(group("administrators").permissions.all())
        client.force_login(member("administrators"))
        assert offered(client.get(INVITE)) == [*ROLES, "greater"]

        greater.permissions.add(Permission.objects.get(codename="add_schedule"))
        assert offered(client.get(INVITE)) == ROLES
        assert client.post(reverse("admin:auth_group_change", args=[greater.pk]), {"name": "x"}).status_code == 403
        assert client.post(reverse("admin:auth_group_delete", args=[greater.pk]), {"post": "yes"}).status_code == 403


class TestMail:
    def test_link_is_mailed(self, admin: Client, configure: Configure) -> None:
        configure(mail_url="smtps://me:s3cr3t@mail.example.com", mail_from="queues@example.com")
        shown = send(admin, email="ada@example.com").content.decode()
        assert "was mailed to ada@example.com" in shown
        [message] = mail.outbox
        assert (message.to, message.from_email) == (["ada@example.com"], "queues@example.com")
        assert LINK.findall(shown)[0] in message.body

    def test_failure_is_told_and_the_link_is_shown(
        self, admin: Client, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(mail_url="smtp://mail.example.com")

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise ConnectionRefusedError("secret host")

        monkeypatch.setattr("queuesite.invitations.send_mail", refuse)
        shown = send(admin, email="ada@example.com").content.decode()
        assert "could not be mailed to ada@example.com (ConnectionRefusedError)" in shown
        assert "secret host" not in shown
        assert LINK.search(shown)

    def test_nothing_is_mailed_without_a_server(self, admin: Client) -> None:
        assert "mailed" not in send(admin, email="ada@example.com").content.decode()
        assert mail.outbox == []


class TestCommand:
    def test_prints_the_link_alone(self) -> None:
        out, err = StringIO(), StringIO()
        call_command("invite", "ada", "--role", "operators", "--site", "https://q.example.com/", stdout=out, stderr=err)
        link = out.getvalue().strip()
        assert link.startswith("https://q.example.com/admin/invitation/")
        assert link not in err.getvalue()
        assert "'ada' is one of the operators; the link works once, within 3 days" in err.getvalue()
        set_password(link.removeprefix("https://q.example.com"), "a-long-password")
        assert User.objects.get(username="ada").check_password("a-long-password")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["ada", "--role", "kings"], "there is no group 'kings'; expected one of viewers, operators"),
            (["a b"], "user name 'a b'"),
            (["ada", "--email", "nowhere"], "e-mail 'nowhere'"),
        ],
    )
    def test_bad_values_are_told(self, arguments: list[str], words: str) -> None:
        with pytest.raises(CommandError, match=words) as caught:
            call_command("invite", *arguments)
        assert caught.value.returncode == 2
        assert not User.objects.exists()
