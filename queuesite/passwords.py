"""Revokes a user's tokens when the password changes, since somebody may know the old one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver

from queuesite import tokens


class TokensEnd:
    """A "validator" of Django's, since Django calls it for each new password, but not if only the hash is upgraded."""

    def validate(self, password: str, user: Any = None) -> None:
        """Accept any password."""

    def get_help_text(self) -> str:
        """The text for forms."""
        return "A new password revokes the user's API tokens."

    def password_changed(self, password: str, user: Any = None) -> None:
        """Revoke the user's tokens."""
        if user is not None and user.pk is not None:
            tokens.revoke_all(user)


@receiver(post_save, sender=User)
def end_tokens_of_the_inactive(instance: User, raw: bool = False, **_: Any) -> None:
    """Revoke the tokens of a user who is deactivated, so that they do not become valid again with the user."""
    if not raw and not instance.is_active:
        tokens.revoke_all(instance)
