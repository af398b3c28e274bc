"""Tokens in the admin. A token is shown once, on the page that answers its form, and is put in no cookie or session."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from queuesite import tokens
from queuesite.admin.forms import FormsAdmin, at
from queuesite.foundation.config import get_config
from queuesite.foundation.quantities import plural
from queuesite.groups import Grants
from queuesite.models import Token
from queuesite.navigation import Place, Section
from queuesite.templatetags.moments import ago

if TYPE_CHECKING:
    TokenModelForm = forms.ModelForm[Token]
else:
    TokenModelForm = forms.ModelForm  # not generic at run time


NEVER, ON_A_DAY = "never", "day"
#: Lifetimes in days that the form offers beside the default.
_LIFETIMES = (7, 30, 90, 365)


class TokenForm(TokenModelForm):
    """A token to create. Its expiry is chosen in words; `cleaned_data` has it as `expires_at`."""

    expires = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    expires_on = forms.DateField(
        label="Day",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="the last day on which it is valid (UTC), if it expires on a certain day",
    )

    class Meta:
        model = Token
        fields = ("user", "name", "read_only")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        default = get_config().token_days
        field = self.fields["expires"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *((str(days), _in_days(days, default)) for days in sorted({*_LIFETIMES, default})),
            (ON_A_DAY, "on a certain day"),
            (NEVER, "never: until its user's password changes"),
        ]
        field.initial = str(default)

    def clean(self) -> dict[str, Any]:
        """Find the time of expiry."""
        cleaned = super().clean() or self.cleaned_data
        chosen, day = cleaned.get("expires"), cleaned.get("expires_on")
        now = timezone.now()
        cleaned["expires_at"] = None
        if chosen == ON_A_DAY and "expires_on" not in self.errors:
            if day is None or day < now.date():
                self.add_error("expires_on", "Enter a day that is not over.")
            else:
                cleaned["expires_at"] = datetime.combine(day, time.max, UTC)
        elif chosen and chosen.isdecimal():
            cleaned["expires_at"] = now + timedelta(days=int(chosen))
        return cleaned


def _in_days(days: int, default: int) -> str:
    return f"in {plural(days, 'day')}{' (the default)' if days == default else ''}"


@admin.register(Token)
class TokenAdmin(FormsAdmin):
    """Tokens are created and revoked. What a token may do is never changed."""

    place = Place(Section.ACCESS, 1, "Tokens", "key")
    grants = Grants(administrators=("view_token", "add_token", "change_token", "delete_token"))

    form = TokenForm
    list_display = (
        "prefix", "user", "name", "read_only", "shown_state",
        at("created_at", "Created"), "shown_expiry", at("last_used_at", "Last used"),
    )  # fmt: skip
    list_filter = ("read_only",)
    list_select_related = ("user",)
    search_fields = ("prefix", "name", "user__username")
    fields = ("user", "name", "read_only", "expires", "expires_on")
    conditional_fields = {"expires_on": f"expires == '{ON_A_DAY}'"}  # noqa: RUF012 - the theme's
    actions = ("revoke",)

    @display(description="State", label={"valid": "success", "expired": "warning", "revoked": "danger"})
    def shown_state(self, token: Token) -> str:
        """The state in one word and with a colour."""
        return token.state

    @admin.display(description="Expires", ordering="expires_at")
    def shown_expiry(self, token: Token) -> str:
        """When it expires, such as `in 89 d`, or `never`."""
        return ago(token.expires_at, "never")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The text of each token that was created and not shown yet, by the key of its record.
        self._shown: dict[int, str] = {}

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose a token of one's own."""
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        """Make every field of an existing token read-only."""
        if obj is None:
            return ()
        return ("prefix", "user", "name", "read_only", "created_at", "expires_at", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        """The fields that can be set, or for an existing token everything that is known about it."""
        return self.fields if obj is None else self.get_readonly_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        """Allow viewing a token but not changing it. The action checks the permission itself."""
        return obj is None and super().has_change_permission(request)

    def get_form(self, request: HttpRequest, obj: Token | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return a form that refuses inactive users and, unless a superuser fills it in, other users.

        A token has its user's permissions, so creating one for another user gives that user's permissions.
        """
        form = super().get_form(request, obj, change, **({} if obj is None else {"form": forms.ModelForm}), **kwargs)
        if "user" in form.base_fields:
            users = form.base_fields["user"].queryset.filter(is_active=True)
            form.base_fields["user"].queryset = users if request.user.is_superuser else users.filter(pk=request.user.pk)
        return form

    def save_model(self, request: HttpRequest, obj: Token, form: forms.ModelForm[Token], change: bool) -> None:
        """Create the token, and keep its text for the answer."""
        expires_at = form.cleaned_data["expires_at"]
        made, text = tokens.make(obj.user, read_only=obj.read_only, expires_at=expires_at, name=obj.name)
        # The admin goes on with the record that was created.
        obj.__dict__.update(made.__dict__)
        self._shown[obj.pk] = text

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token, this once."""
        shown_once = self._shown.pop(obj.pk)
        return self._page(request, "Token created", "queuesite/_token.html", token=obj, shown_once=shown_once)

    @admin.action(description="Revoke…", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> HttpResponse | None:
        """Revoke the selected tokens, after a question."""
        chosen = list(queryset)
        if "sure" not in request.POST:
            return self._page(request, "Revoke?", "queuesite/_revoke.html", chosen=chosen)
        valid = [token for token in chosen if token.revoked_at is None]
        for token in valid:
            tokens.revoke(token.prefix)
            self.log_change(request, token, "Revoked.")
        skipped = len(chosen) - len(valid)
        self.message_user(request, f"{len(valid)} revoked" + (f", {skipped} revoked already" if skipped else "") + ".")
        return None

    def _page(self, request: HttpRequest, title: str, partial: str, **context: Any) -> HttpResponse:
        return TemplateResponse(
            request,
            "queuesite/live_page.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "partial": partial,
                "media": forms.Media(js=["queuesite/queues.js"]),
                "back": reverse("admin:queuesite_token_changelist"),
                "poll": False,
                **context,
            },
        )
