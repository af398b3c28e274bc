"""The records of processing, to be looked at: nobody but the system itself writes them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from jobs.models import Assignment, Failure, Job, Lease, Worker


class ReadOnlyAdmin(ModelAdmin):
    """A model that is shown and not changed."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes one."""
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Every run of the last days."""

    list_display = (
        "queue_name",
        "status",
        "message_count",
        "failed_count",
        "timed_out_count",
        "end_reason",
        "created_at",
        "started_at",
        "ended_at",
    )
    list_filter = ("status", "end_reason")
    search_fields = ("queue_name",)
    show_full_result_count = False


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """What handlers raised, by kind."""

    list_display = ("queue_name", "exception_type", "place", "count", "first_seen_at", "last_seen_at")
    list_filter = ("queue_name",)
    search_fields = ("queue_name", "exception_type", "place", "message")
    show_full_result_count = False


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin):
    """What is being processed at the moment."""

    list_display = ("queue_url", "slot", "worker", "created_at", "yield_requested_at")
    search_fields = ("queue_url", "worker")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The workers that are alive."""

    list_display = ("worker_id", "host", "pid", "capacity", "draining", "started_at", "heartbeat_at")


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    """Who leads."""

    list_display = ("name", "holder", "term", "elected_at", "expires_at")
