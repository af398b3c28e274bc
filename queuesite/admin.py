"""Tokens and background tasks in the admin. A token is shown once, in the message after it was created."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from queuesite import tokens
from queuesite.models import BackgroundTask, Token


@admin.register(Token)
class TokenAdmin(ModelAdmin):
    """Tokens are made and revoked; what one is allowed is never changed afterwards."""

    list_display = ("prefix", "user", "name", "read_only", "state", "created_at", "expires_at", "last_used_at")
    list_filter = ("read_only",)
    list_select_related = ("user",)
    search_fields = ("prefix", "name", "user__username")
    fields = ("user", "name", "read_only", "expires_at")
    actions = ("revoke",)

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        """All of them, once the token is there."""
        return () if obj is None else ("prefix", *self.fields, "created_at", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        """What can be chosen, and for a token that exists what is known of it."""
        return self.fields if obj is None else self.get_readonly_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        """A token is looked at and not changed; the action asks for the permission itself."""
        return obj is None and super().has_change_permission(request)

    def get_form(self, request: HttpRequest, obj: Token | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which refuses users that are not active, and other people's names to who is no superuser.

        A token has its user's permissions: whoever may make them for others could make themselves an administrator.
        """
        form = super().get_form(request, obj, change, **kwargs)
        if "user" in form.base_fields:
            users = form.base_fields["user"].queryset.filter(is_active=True)
            form.base_fields["user"].queryset = users if request.user.is_superuser else users.filter(pk=request.user.pk)
        return form

    def save_model(self, request: HttpRequest, obj: Token, form: forms.ModelForm[Token], change: bool) -> None:
        """Make the token, and show it this once."""
        made, text = tokens.make(obj.user, read_only=obj.read_only, expires_at=obj.expires_at, name=obj.name)
        # What the admin goes on with is the record that was made.
        obj.__dict__.update(made.__dict__)
        self.message_user(request, f"The token, which cannot be shown again: {text}", messages.WARNING)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        """End the chosen tokens."""
        prefixes = [token.prefix for token in queryset if token.revoked_at is None]
        for prefix in prefixes:
            tokens.revoke(prefix)
        skipped = queryset.count() - len(prefixes)
        self.message_user(request, f"{len(prefixes)} revoked" + (f", {skipped} were already" if skipped else ""))


@admin.register(BackgroundTask)
class BackgroundTaskAdmin(ModelAdmin):
    """Long operations: shown, not changed."""

    list_display = ("kind", "owner", "state", "done", "total", "created_at", "started_at", "ended_at")
    list_filter = ("state", "kind")
    search_fields = ("id", "owner")
    exclude = ("arguments",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are started by the API."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: BackgroundTask | None = None) -> bool:
        """Nobody changes one."""
        return False
