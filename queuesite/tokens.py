"""Tokens of the API: what the command line and the admin do with them, and who a token stands for.

A token is `qs_<prefix>_<secret>`: the prefix is shown in lists, the secret is 256 random bits. The whole is kept as its
SHA-256 alone.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from queuesite.errors import InvalidInput, NotFound
from queuesite.logs import get_logger
from queuesite.models import Token

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = get_logger(__name__)

#: Days that a token lives unless something else is asked for: one that is forgotten does not stay a way in for ever.
DEFAULT_DAYS = 90
#: Days that a token may live; ten years count as for ever, for which `None` is clearer.
EXPIRY_DAYS = (1, 3_650)
#: The last use is recorded to this precision, so that not every request writes.
USE_PRECISION = timedelta(minutes=1)


def create(
    username: str, *, read_only: bool = False, expires_days: int | None = DEFAULT_DAYS, name: str = ""
) -> tuple[Token, str]:
    """Make a token for a user: the record, and the token itself, which nobody can see again.

    `expires_days`: None is for ever, or until the user's password changes or the user is deactivated.

    Raises `NotFound` where there is no such user, `InvalidInput` where one is inactive or the days are out of range.
    """
    if expires_days is not None and not EXPIRY_DAYS[0] <= expires_days <= EXPIRY_DAYS[1]:
        raise InvalidInput(
            f"a lifetime of {expires_days} days is out of range: expected {EXPIRY_DAYS[0]} to {EXPIRY_DAYS[1]}; "
            "use never for a token that does not expire"
        )
    expires_at = None if expires_days is None else timezone.now() + timedelta(days=expires_days)
    return make(_user(username), read_only=read_only, expires_at=expires_at, name=name)


def make(
    user: User, *, read_only: bool = False, expires_at: datetime | None = None, name: str = ""
) -> tuple[Token, str]:
    """The same, for a user at hand and with the moment of the token's end."""
    if not user.is_active:
        raise InvalidInput(f"user {user.get_username()!r} is not active; activate the user, or name another user")
    prefix = secrets.token_hex(4)
    text = f"qs_{prefix}_{secrets.token_urlsafe(32)}"
    token = Token.objects.create(
        user=user, name=name, prefix=prefix, digest=_digest(text), read_only=read_only, expires_at=expires_at
    )
    log.info("token_created", prefix=prefix, user=user.get_username(), read_only=read_only)
    return token, text


def _user(username: str) -> User:
    users = get_user_model()
    try:
        return users.objects.get_by_natural_key(username)
    except users.DoesNotExist:
        raise NotFound(
            f"there is no user {username!r}; create one in the admin or with `manage.py createsuperuser`"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find(text: str) -> Token | None:
    """The valid token that `text` is, with its active user, or None. Its use is recorded, to the minute."""
    token = Token.objects.select_related("user").filter(digest=_digest(text)).first()
    if token is None or token.state != "valid" or not token.user.is_active:
        return None
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - USE_PRECISION:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_PRECISION)
        Token.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return token


def all_tokens() -> list[Token]:
    """Every token, the newest first."""
    return list(Token.objects.select_related("user"))


def revoke_all(user: User) -> int:
    """End every valid token of a user; how many there were."""
    count = Token.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    if count:
        log.info("tokens_revoked", user=user.get_username(), count=count)
    return count


def revoke(prefix: str) -> Token:
    """End a token, for good and at once. One that was revoked before stays so. Raises `NotFound`."""
    token = Token.objects.select_related("user").filter(prefix=prefix).first()
    if token is None:
        raise NotFound(f"there is no token with the prefix {prefix!r}; `manage.py token list` shows them")
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        log.info("token_revoked", prefix=prefix, user=token.user.get_username())
    return token
