"""Pages of users, groups and failed logins, in the admin's theme."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db import models
from django.db.models import Value
from django.db.models.functions import Concat
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.text import capfirst
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from queuesite.admin import invitations
from queuesite.admin.forms import FormsAdmin, at
from queuesite.groups import NAMES, Grants, declared
from queuesite.invitations import may_give, permissions_of, roles
from queuesite.navigation import Place, Section

_CHECKBOXES: dict[type[models.Field[Any, Any]], dict[str, Any]] = {
    models.ManyToManyField: {"widget": UnfoldAdminCheckboxSelectMultipleWidget}
}

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, FormsAdmin):  # type: ignore[type-arg,misc]  # typed only here
    """Users. Only superusers create and change superusers, or else any administrator could become one."""

    place = Place(Section.ACCESS, 2, "Users", "person")
    grants = Grants(administrators=("view_user", "add_user", "change_user", "delete_user"))

    actions_list = ("invite",)
    actions_detail = ("password_link",)
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "username",
        "email",
        "shown_groups",
        "is_active",
        "is_staff",
        "is_superuser",
        at("last_login", "Last login"),
    )
    list_filter = ("is_active", "is_superuser", "groups")
    filter_horizontal = ()  # Django's two lists side by side are too wide for a phone
    #: Users get permissions only through groups, so there is one place that shows what somebody may do.
    fieldsets = (
        (None, {"fields": ("username", "password", "email", "first_name", "last_name")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    formfield_overrides = _CHECKBOXES
    instead_of_deletion = "Turn Active off instead: then they cannot log in, and their tokens do not work."

    @admin.display(description="Groups")
    def shown_groups(self, user: User) -> str:
        """The names of the user's groups."""
        return ", ".join(group.name for group in user.groups.all())

    @action(description="Invite a colleague", url_path="invite", icon="person_add", permissions=["add", "change"])
    def invite(self, request: HttpRequest) -> HttpResponse:
        """The form of an invitation, and its answer."""
        return invitations.invite(self, request)

    @action(description="Make a link to set a new password", url_path="password-link", icon="key", permissions=["link"])
    def password_link(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The question whether to make the link, and its answer."""
        user = self.get_object(request, unquote(object_id))
        if user is None:
            raise Http404("there is no such user")
        return invitations.password_link(self, request, user)

    def has_link_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Only those who may change somebody: whoever has the link can log in as that user."""
        user = None if object_id is None else self.get_object(request, unquote(str(object_id)))
        return self.has_change_permission(request, user) and (user is None or user.is_active)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Fetch the users' groups in one further query."""
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Include what only a superuser may change."""
        fixed = ("last_login", "date_joined")
        return fixed if request.user.is_superuser else (*fixed, "is_superuser")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer only groups all of whose permissions the user holds."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and field is not None:
            field.queryset = Group.objects.filter(pk__in=[group.pk for group in roles(_person(request))])
        return field

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only users with at least the same permissions may change a user, whose password they could set."""
        return bool(super().has_change_permission(request, obj)) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, user: User | None) -> bool:
        if user is None or request.user.is_superuser:
            return True
        return not user.is_superuser and may_give(_person(request), user.get_all_permissions())


def _person(request: HttpRequest) -> User:
    """The user who asks, who is logged in."""
    assert isinstance(request.user, User)
    return request.user


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, FormsAdmin):  # type: ignore[misc]  # typed only here
    """Groups, both those that come with the system and others."""

    place = Place(Section.ACCESS, 3, "Groups", "group")
    grants = Grants(administrators=("view_group", "add_group", "change_group", "delete_group"))

    filter_horizontal = ()
    formfield_overrides = _CHECKBOXES

    def before_deletion(self, record: Group) -> str:
        users = record.user_set.count()
        return f"{users} {'user is' if users == 1 else 'users are'} in it, and can no longer do what it lets them do."

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        """Offer only permissions that some page or operation asks for.

        Django makes four for each model, most of which nothing asks for.
        """
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "permissions" and field is not None and field.queryset is not None:
            names = Concat("content_type__app_label", Value("."), "codename")
            offered = declared()[NAMES[-1]]
            if request is not None and not request.user.is_superuser:
                offered &= _person(request).get_all_permissions()
            field.queryset = field.queryset.alias(permission=names).filter(permission__in=offered)
            field.label_from_instance = _permission_words  # type: ignore[method-assign,assignment]
        return field

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Only those who hold what a group grants change it, or they could give more than they have."""
        return bool(super().has_change_permission(request, obj)) and _holds(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and _holds(request, obj)


def _holds(request: HttpRequest, group: Group | None) -> bool:
    return group is None or may_give(_person(request), permissions_of(group))


def _permission_words(permission: Permission) -> str:
    """What a permission allows, in the words of the page that asks for it: `Queues: purge queues`."""
    model = permission.content_type.model_class()
    if model is None:
        return permission.name
    verb, _, rest = permission.codename.partition("_")
    of_model = {"add": "create"}.get(verb, verb) if rest == model._meta.model_name else None
    return f"{capfirst(model._meta.verbose_name_plural)}: {of_model or permission.name.removeprefix('Can ')}"


@admin.register(AccessAttempt)
class LoginAttemptAdmin(FormsAdmin):
    """Failed logins that count towards a lock. Deleting them ends the lock."""

    place = Place(Section.ACCESS, 4, "Failed logins", "lock")
    grants = Grants(administrators=("view_accessattempt", "delete_accessattempt"))

    list_display = ("username", "ip_address", "failures_since_start", at("attempt_time", "Last"))
    search_fields = ("username", "ip_address")
    exclude = ("get_data", "post_data")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False
