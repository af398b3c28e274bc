"""Users and groups within the theme, and the login attempts that were refused."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import models
from django.db.models import Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from queuesite.groups import NAMES, Grants, declared
from queuesite.navigation import Place, Section

_CHECKBOXES: dict[type[models.Field[Any, Any]], dict[str, Any]] = {
    models.ManyToManyField: {"widget": UnfoldAdminCheckboxSelectMultipleWidget}
}

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Users. Whoever is no superuser makes none, and changes none: else each administrator could become one."""

    place = Place(Section.ACCESS, 2, "Users", "person")
    grants = Grants(administrators=("view_user", "add_user", "change_user", "delete_user"))

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "shown_groups", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser", "groups")
    filter_horizontal = ()  # two lists side by side, which no phone is wide enough for
    #: Permissions come with groups alone: what somebody may do is seen in one place.
    fieldsets = (
        (None, {"fields": ("username", "password", "email", "first_name", "last_name")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    formfield_overrides = _CHECKBOXES

    @admin.display(description="Groups")
    def shown_groups(self, user: User) -> str:
        """By name."""
        return ", ".join(group.name for group in user.groups.all())

    def get_queryset(self, request: HttpRequest) -> Any:
        """With their groups, in one query."""
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """What only a superuser gives."""
        fixed = ("last_login", "date_joined")
        return fixed if request.user.is_superuser else (*fixed, "is_superuser")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Superusers are changed by superusers: who sets somebody's password can be them."""
        return bool(super().has_change_permission(request, obj)) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, user: User | None) -> bool:
        return user is None or not user.is_superuser or request.user.is_superuser


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Groups: viewers, operators and administrators come with the system."""

    place = Place(Section.ACCESS, 3, "Groups", "group")
    grants = Grants(administrators=("view_group", "add_group", "change_group", "delete_group"))

    filter_horizontal = ()
    formfield_overrides = _CHECKBOXES

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        """Offer only permissions that some page or operation asks for.

        Django makes four for each model, most of which nothing asks for.
        """
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "permissions" and field is not None and field.queryset is not None:
            names = Concat("content_type__app_label", Value("."), "codename")
            field.queryset = field.queryset.alias(permission=names).filter(permission__in=declared()[NAMES[-1]])
        return field


@admin.register(AccessAttempt)
class LoginAttemptAdmin(ModelAdmin):
    """Wrong passwords that count towards a lock; deleting one ends its lock."""

    place = Place(Section.ACCESS, 4, "Login attempts", "lock")
    grants = Grants(administrators=("view_accessattempt", "delete_accessattempt"))

    list_display = ("username", "ip_address", "failures_since_start", "attempt_time")
    search_fields = ("username", "ip_address")
    exclude = ("get_data", "post_data")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False
