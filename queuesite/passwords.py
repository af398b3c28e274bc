"""What follows from a password that is changed: whoever may know the old one keeps no token."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver

from queuesite import tokens


class TokensEnd:
    """A "validator" of Django's, which is told of each password that was set, and of no mere change of its hash."""

    def validate(self, password: str, user: Any = None) -> None:
        """Any password will do."""

    def get_help_text(self) -> str:
        """For forms."""
        return "A new password ends the user's tokens of the API."

    def password_changed(self, password: str, user: Any = None) -> None:
        """End the user's tokens."""
        if user is not None and user.pk is not None:
            tokens.revoke_all(user)


@receiver(post_save, sender=User)
def end_tokens_of_the_inactive(instance: User, raw: bool = False, **_: Any) -> None:
    """Whoever is made active again gets new tokens."""
    if not raw and not instance.is_active:
        tokens.revoke_all(instance)
