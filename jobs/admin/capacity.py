"""Giving running workers another capacity: those that can process a queue that waits for a place, or one of them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect

from jobs import reads, services
from jobs.models import Worker
from jobs.placement import can_serve
from queues import services as queues
from queuesite.admin.records import RecordsAdmin, address
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput, NotFound


class CapacityPage(RecordsAdmin):
    """A page of the workers."""

    def capacity_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for the capacities of the workers that can serve `?queue=`, of `?worker=`, or of all; then set them."""
        if not self.may(request, "change"):
            raise PermissionDenied
        queue, worker = request.GET.get("queue"), request.GET.get("worker")
        rows = _rows(queue, worker)
        if request.method == "POST":
            set_for = [row for row in rows if self._set(request, row)]
            if not any(row["error"] for row in rows):
                words = ", ".join(f"{row['worker']} to {row['value']}" for row in set_for)
                self.message_user(request, f"Capacity set: {words}." if set_for else "Nothing was changed.")
                return HttpResponseRedirect(address("jobs_worker_changelist"))
        return self.page(
            request,
            "jobs/_capacity.html",
            f"Capacity for {queue}" if queue else "Capacity",
            rows=rows,
            queue=queue,
            back=address("queues_queue_change", queue) if queue else address("jobs_worker_changelist"),
        )

    def _set(self, request: HttpRequest, row: dict[str, Any]) -> bool:
        """Take a worker's number from the form; whether it is another one now. What is wrong goes into the row."""
        worker: Worker = row["worker"]
        text = request.POST.get(f"capacity-{worker.worker_id}", "").strip()
        row["value"] = text
        if not text or text == str(row["now"]):
            return False
        try:
            if not text.isdecimal():
                raise InvalidInput(f"enter a whole number, 1 to {worker.capacity_limit}")
            changed = services.set_capacity(worker.worker_id, int(text))
        except (InvalidInput, NotFound) as error:
            row["error"] = str(error)
            return False
        if changed:
            self.log_change(request, worker, f"Asked for a capacity of {text}.")
        return changed


def _rows(queue_name: str | None, worker_id: str | None) -> list[dict[str, Any]]:
    """The live workers that can be asked, with what they have and a number to begin with."""
    try:
        queue = None if queue_name is None else queues.get(queue_name)
        found = services.list_workers() if worker_id is None else [reads.worker(worker_id)]
    except NotFound as error:
        raise Http404(str(error)) from None
    now = database_clock.now()
    held = reads.find_assignments()
    return [
        {
            "worker": worker,
            "used": sum(one.worker == worker.worker_id for one in held),
            "now": (present := worker.wanted_capacity or worker.capacity),
            "value": present if queue is None else min(worker.capacity_limit, present + 1),
            "error": "",
        }
        for worker in found
        if worker.capacity_limit is not None
        and services.worker_state(worker, now) == "alive"
        and (queue is None or can_serve(worker, queue))
    ]
