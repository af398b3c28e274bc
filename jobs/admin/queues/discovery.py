"""Queues that SQS has and that are not defined here, each with a link to adopt it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver
from unfold.widgets import UnfoldAdminTextInputWidget

from jobs.admin.queues.base import QueuePages
from queues import adoption
from queues.adoption import Found
from queues.patience import Patience
from queues.settings import HANDLER_PERMISSION
from queuesite.admin.records import address
from queuesite.admin.tables import Column, Listing
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.public import public_text
from queuesite.foundation.quantities import noun_for
from queuesite.templatetags.cells import cut, whole

#: Queues on the page.
_MOST = 200


class DiscoverFilters(forms.Form):
    """Where to look, and for what."""

    q = forms.CharField(
        label="Name begins with", required=False, max_length=80, strip=True, widget=UnfoldAdminTextInputWidget
    )
    region = forms.CharField(required=False, max_length=40, widget=UnfoldAdminTextInputWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["region"].help_text = f"empty: {get_config().aws_region} (AWS_REGION)"

    def found(self) -> list[Found]:
        """Up to one more than fit. Raises `QueuesiteError`."""
        region = self.cleaned_data["region"] or None
        with mongodb_errors():
            return Patience().ask(
                lambda: adoption.discover(prefix=self.cleaned_data["q"], region=region, limit=_MOST + 1)
            )


class DiscoverPage(QueuePages):
    """The list of what may be adopted."""

    def pages(self) -> list[URLPattern | URLResolver]:
        return [self.route("discover-queues/", self.discover_view, "discover"), *super().pages()]

    def discover_view(self, request: HttpRequest) -> HttpResponse:
        """What SQS has; it is asked at each look."""
        if not self.may(request, "add"):
            raise PermissionDenied
        filters = DiscoverFilters(request.GET)
        found: list[Found] = []
        if filters.is_valid():
            try:
                found = filters.found()
            except QueuesiteError as error:
                filters.add_error(None, public_text(error))
        may_adopt = request.user.has_perm(HANDLER_PERMISSION)
        return self.page(
            request,
            "jobs/_discover.html",
            "Queues in SQS that are not defined here",
            filters=filters,
            table=IN_SQS.table(request, [_row(one) for one in found[:_MOST]], total=_total(found)),
            more=len(found) > _MOST,
            looked=filters.is_valid(),
            adopt=address("queues_queue_adopt") if may_adopt else None,
            poll=False,
        )


def _row(found: Found) -> dict[str, Any]:
    return {
        "id": found.name,
        "name": found.name,
        "queue": found,
        "adopt": address("queues_queue_adopt", queue=found.queue_url),
    }


IN_SQS = Listing(
    "in-sqs",
    "Queues in SQS",
    (
        Column("name", "Queue in SQS", lambda row: cut(row["name"]), "name"),
        Column("url", "URL", lambda row: whole(row["queue"].queue_url), "text"),
        Column("adopt", "Adopt", "jobs/cells/adopt.html", "short"),
    ),
    needs={"adopt": HANDLER_PERMISSION},
    may_choose=False,
)


def _total(found: list[Found]) -> str:
    return f"{min(len(found), _MOST)}{'+' if len(found) > _MOST else ''} {noun_for(len(found), 'queue')}"
