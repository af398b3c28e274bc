"""Invitations: a user with a role, who sets the password by a link that works once.

The link is Django's for a forgotten password: it ends with its use, with another change of the password, with a login,
and after INVITATION_HOURS.
"""

from __future__ import annotations

from collections.abc import Iterable
from smtplib import SMTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from django.contrib.auth.models import Group, User
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.core.mail import get_connection, send_mail
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from queuesite.foundation.address_checks import MAIL_PORTS
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import AlreadyExists, Forbidden, InvalidInput
from queuesite.foundation.logs import get_logger
from queuesite.foundation.quantities import in_words
from queuesite.groups import NAMES
from queuesite.models import PredefinedGroup

log = get_logger(__name__)


def permissions_of(group: Group) -> set[str]:
    """What a group grants, as `app.codename`."""
    return {
        f"{label}.{codename}"
        for label, codename in group.permissions.values_list("content_type__app_label", "codename")
    }


def may_give(giver: User, permissions: Iterable[str]) -> bool:
    """Whether somebody holds all of these permissions: nobody gives what they lack."""
    return giver.is_superuser or set(permissions) <= giver.get_all_permissions()


def roles(giver: User | None = None) -> list[Group]:
    """The groups that somebody may put users into (None: all), the predefined ones first, from the least powerful."""
    order = {group: NAMES.index(name) for name, group in PredefinedGroup.objects.values_list("name", "group")}
    found = sorted(Group.objects.all(), key=lambda group: (order.get(group.pk, len(NAMES)), group.name))
    return [group for group in found if giver is None or may_give(giver, permissions_of(group))]


def role(name: str) -> Group:
    """The group of this name. Raises `InvalidInput`, which lists the groups."""
    found = Group.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(group.name for group in roles())
        raise InvalidInput(f"there is no group {name!r}; expected one of {known}", field="role")
    return found


def invite(username: str, group: Group, *, email: str = "", giver: User | None = None) -> User:
    """Create a user who may log in to the admin, with this role and without a password.

    `giver` None is the command line, which may give any role. Raises `Forbidden` for a role that the giver may not
    give, `AlreadyExists`, and `InvalidInput` for a name or address that cannot be.
    """
    if giver is not None and not may_give(giver, permissions_of(group)):
        raise Forbidden(f"{group.name!r} has permissions that {giver.get_username()} lacks; choose another role")
    username = User.normalize_username(username)
    try:
        User.username_validator(username)
    except ValidationError as error:
        raise InvalidInput(f"user name {username!r}: {' '.join(error.messages)}", field="username") from None
    try:
        if email:
            validate_email(email)
    except ValidationError as error:
        raise InvalidInput(f"e-mail {email!r}: {' '.join(error.messages)}", field="email") from None
    taken = AlreadyExists(f"there is a user {username!r} already; choose another name", name=username)
    if User.objects.filter(username__iexact=username).exists():
        raise taken
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, email=email, is_staff=True)
            user.groups.add(group)
    except IntegrityError:  # somebody else was faster
        raise taken from None
    log.info("user_invited", user=username, role=group.name)
    return user


def path_for(user: User) -> str:
    """The path of the page on which the user sets the password. It is a secret, since it allows logging in."""
    key = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("set_password", args=[key, default_token_generator.make_token(user)])


def lifetime() -> str:
    """How long a link works, in words."""
    return in_words(get_config().invitation_hours * 3_600)


def mail_is_set_up() -> bool:
    """Whether links can be mailed (MAIL_URL)."""
    return get_config().mail_url is not None


def mail(user: User, address: str) -> str | None:
    """Mail the link to the user. Returns why that failed, if it did: then somebody must pass the link on."""
    try:
        send_mail(
            "Your access to Queuesite",
            f"You can log in to Queuesite as {user.get_username()}.\n\nSet your password here:\n\n  {address}\n\n"
            f"The link works once, within {lifetime()}.\n",
            get_config().mail_from,
            [user.email],
            connection=_connection(),
        )
    except (OSError, SMTPException) as error:
        log.warning("invitation_not_mailed", user=user.get_username(), error=str(error))
        return type(error).__name__
    log.info("invitation_mailed", user=user.get_username())
    return None


def _connection() -> Any:
    """A connection to MAIL_URL, which is not a setting of Django's, since those are shown in more places."""
    url = get_config().mail_url
    parts = urlsplit("" if url is None else url.get_secret_value())
    return get_connection(
        host=parts.hostname,
        port=parts.port or MAIL_PORTS.get(parts.scheme),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_ssl=parts.scheme == "smtps",
        use_tls=parts.scheme == "smtp+tls",
        timeout=10,
    )
