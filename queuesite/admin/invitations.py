"""The pages of an invitation: one form with user and role, the link that is shown once, and what the link opens.

A user who has forgotten the password gets such a link, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import Group, User
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse, reverse_lazy
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextInputWidget,
)

from queuesite import invitations
from queuesite.foundation.errors import AlreadyExists, Forbidden, InvalidInput
from queuesite.groups import MEANS
from queuesite.models import PredefinedGroup

if TYPE_CHECKING:
    _GroupField = forms.ModelChoiceField[Group]
else:
    _GroupField = forms.ModelChoiceField  # not generic at run time


class RoleField(_GroupField):
    """A choice of groups, each with what it may do."""

    means: dict[int | None, str]

    def label_from_instance(self, group: Any) -> str:
        """The group's name and what it may do."""
        meaning = self.means.get(group.pk, "a group of your own")
        return f"{group.name}: {meaning}"


class InvitationForm(forms.Form):
    """Who is invited, and as what. The roles are those that the giver may give."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text="empty: the e-mail address",
    )
    email = forms.EmailField(label="E-mail", required=False, widget=UnfoldAdminEmailInputWidget)
    role = RoleField(queryset=Group.objects.none(), empty_label=None, widget=UnfoldAdminRadioSelectWidget)

    #: The user whom a valid form has created.
    user: User | None = None

    def __init__(self, giver: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._giver = giver
        given = invitations.roles(giver)
        field = self.fields["role"]
        assert isinstance(field, RoleField)
        field.queryset = Group.objects.filter(pk__in=[one.pk for one in given])
        names = dict(PredefinedGroup.objects.values_list("group", "name"))
        field.means = {key: MEANS[name] for key, name in names.items()}
        field.choices = [(one.pk, field.label_from_instance(one)) for one in given]
        field.initial = given[0].pk if given else None
        self.fields["email"].help_text = (
            "the link is mailed there" if invitations.mail_is_set_up() else "kept with the user; the link is shown here"
        )

    def clean(self) -> dict[str, Any]:
        """Create the user, unless something is wrong."""
        cleaned = super().clean() or self.cleaned_data
        username = cleaned.get("username") or cleaned.get("email") or ""
        if not username and not self.errors:
            self.add_error("username", "Enter a user name or an e-mail address.")
        if self.errors:
            return cleaned
        try:
            self.user = invitations.invite(username, cleaned["role"], email=cleaned["email"], giver=self._giver)
        except InvalidInput as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        except AlreadyExists as error:
            self.add_error("username" if cleaned.get("username") else "email", str(error))
        except Forbidden as error:
            self.add_error("role", str(error))
        return cleaned


def invite(page: admin.ModelAdmin[User], request: HttpRequest) -> HttpResponse:
    """The form, or the answer to it: the link, this once. It is put in no cookie, session or log."""
    assert isinstance(request.user, User)
    form = InvitationForm(request.user, request.POST if request.method == "POST" else None)
    context = _context(page, request)
    if request.method == "POST" and form.is_valid() and form.user is not None:
        user = form.user
        role = form.cleaned_data["role"].name
        page.log_addition(request, user, f"Invited as {role}.")
        title, again = f"{user.get_username()} is invited", reverse("admin:auth_user_invite")
        context |= {**_link(request, user), "title": title, "role": role, "again": again}
    else:
        context |= {"title": "Invite a colleague", "partial": "queuesite/_invite.html", "form": form}
    return TemplateResponse(request, "queuesite/live_page.html", context)


def password_link(page: admin.ModelAdmin[User], request: HttpRequest, user: User) -> HttpResponse:
    """The question whether to make a link for somebody who has forgotten the password, and the link, this once."""
    context = {**_context(page, request), "original": user}
    if request.method == "POST":
        page.log_change(request, user, "Made a link to set a new password.")
        context |= {**_link(request, user), "title": f"A new password for {user.get_username()}"}
    else:
        title, back = f"A new password for {user.get_username()}?", reverse("admin:auth_user_change", args=[user.pk])
        context |= {"title": title, "partial": "queuesite/_password_link.html", "of": user, "back": back}
    return TemplateResponse(request, "queuesite/live_page.html", context)


def _context(page: admin.ModelAdmin[User], request: HttpRequest) -> dict[str, Any]:
    return {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "media": forms.Media(js=["queuesite/queues.js"]),
        "users": reverse("admin:auth_user_changelist"),
        "lifetime": invitations.lifetime(),
        "poll": False,
    }


def _link(request: HttpRequest, user: User) -> dict[str, Any]:
    """The link, and whether it was mailed to the user."""
    link = request.build_absolute_uri(invitations.path_for(user))
    mailed = bool(user.email) and invitations.mail_is_set_up()
    return {
        "partial": "queuesite/_invitation.html",
        "invited": user,
        "link": link,
        "mailed": mailed,
        "not_mailed": invitations.mail(user, link) if mailed else None,
    }


class PasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """The new password, twice, in the theme."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})


class SetPassword(PasswordResetConfirmView):
    """What the link opens: the password is set, and the user is logged in."""

    form_class = PasswordForm
    template_name = "queuesite/set_password.html"
    success_url = reverse_lazy("admin:index")
    post_reset_login = True
    post_reset_login_backend = "django.contrib.auth.backends.ModelBackend"
    title = "Set your password"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Include what the theme's pages need."""
        return {**admin.site.each_context(self.request), **super().get_context_data(**kwargs)}
