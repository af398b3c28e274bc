"""The API's tokens: creating, finding, listing and revoking them.

A token is `qs_<prefix>_<secret>`: the prefix is shown in lists, the secret has 256 random bits. Only the
SHA-256 of the whole is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from types import EllipsisType
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.logs import get_logger
from queuesite.models import Token

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = get_logger(__name__)

#: Shortest and longest lifetime in days. `None` is clearer than anything above ten years.
EXPIRY_DAYS = (1, 3_650)
#: Precision of the recorded last use, so that not every request writes.
USE_PRECISION = timedelta(minutes=1)


def create(
    username: str, *, read_only: bool = False, expires_days: int | EllipsisType | None = ..., name: str = ""
) -> tuple[Token, str]:
    """Create a token for a user. Returns the record and the token itself, which cannot be shown again.

    Without `expires_days`, TOKEN_DAYS holds, so that a forgotten token does not stay valid forever. If it is None, the
    token lasts until the user's password changes or the user is deactivated.

    Raises `NotFound` if there is no such user, and `InvalidInput` if the user is inactive or the days are out of range.
    """
    if isinstance(expires_days, EllipsisType):
        expires_days = get_config().token_days
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
    """As `create`, for a user object and with a time of expiry."""
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
            f"there is no user {username!r}; create one in the admin or with `{PROGRAM} createsuperuser`"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find(text: str) -> Token | None:
    """The token with this text, if it is valid and its user active, or else None. Records its use, to the minute."""
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
    """Revoke every token of a user. Returns how many were not revoked before."""
    count = Token.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    if count:
        log.info("tokens_revoked", user=user.get_username(), count=count)
    return count


def revoke(prefix: str) -> Token:
    """Revoke a token at once and for good, which changes nothing if it is revoked already. Raises `NotFound`."""
    token = Token.objects.select_related("user").filter(prefix=prefix).first()
    if token is None:
        raise NotFound(f"there is no token with the prefix {prefix!r}; `{PROGRAM} token list` shows them")
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        log.info("token_revoked", prefix=prefix, user=token.user.get_username())
    return token
