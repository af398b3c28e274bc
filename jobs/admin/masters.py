"""Masters: who leads, for how long and in which term, and who stands by."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from jobs import reads
from jobs.admin.pages import leader
from jobs.models import Master
from queuesite.admin.records import RecordsAdmin, address
from queuesite.admin.tables import Column, Listing
from queuesite.foundation.quantities import plural
from queuesite.groups import Grants
from queuesite.navigation import Place, Section
from queuesite.templatetags.cells import cut
from queuesite.templatetags.moments import ago, moment


@admin.register(Master)
class MasterAdmin(RecordsAdmin):
    """The live masters, and the lease of the one that leads."""

    at = "masters"
    place = Place(Section.PROCESSES, 2, "Masters", "hub")
    grants = Grants(viewers=("view_lease",))

    def has_view_permission(self, request: HttpRequest, obj: Master | None = None) -> bool:
        """Require the permission to see the lease, as the API does."""
        return bool(request.user.has_perm("jobs.view_lease"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Master | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """List every live master."""
        self.require_view(request)
        lead = leader()
        lease = lead["lease"]
        masters = reads.find_masters()
        return self.page(
            request,
            "jobs/_masters.html",
            "Masters",
            **lead,
            table=MASTERS.table(
                request,
                [
                    {
                        "id": master.master_id,
                        "name": master.master_id,
                        "master": master,
                        "leads": lease is not None and lease.holder == master.master_id,
                    }
                    for master in masters
                ],
                total=plural(len(masters), "live master"),
            ),
            standbys=sum(1 for master in masters if lease is None or master.master_id != lease.holder),
            poll=True,
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the list, which shows everything about a master."""
        self.require_view(request)
        return HttpResponseRedirect(address("jobs_master_changelist"))


MASTERS = Listing(
    "masters",
    "Masters",
    (
        Column("master", "Master", lambda row: cut(row["name"]), "name"),
        Column("role", "Role", "jobs/cells/role.html", "medium"),
        Column("host", "Host", lambda row: cut(row["master"].host), "medium"),
        Column("pid", "Pid", lambda row: str(row["master"].pid), "number"),
        Column("heartbeat", "Last heartbeat", lambda row: ago(row["master"].heartbeat_at), "span"),
        Column("started", "Started", lambda row: moment(row["master"].started_at), "time"),
    ),
)
