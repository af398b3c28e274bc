"""The pages of queues, each group in a module of its own.

They read and change everything through the services that the command line and the API use.
"""

from __future__ import annotations

from django.contrib import admin

from jobs.admin.queues.acting import ActionPage
from jobs.admin.queues.dead_letters import DeadLettersPage
from jobs.admin.queues.discovery import DiscoverPage
from jobs.admin.queues.listing import ListPage
from jobs.admin.queues.live import LivePage
from jobs.admin.queues.messages import MessagesPage
from jobs.admin.queues.settings import SettingsPage
from queues.models import Queue
from queuesite.groups import Grants
from queuesite.navigation import Place, Section


@admin.register(Queue)
class QueueAdmin(ListPage, LivePage, MessagesPage, DeadLettersPage, DiscoverPage, SettingsPage, ActionPage):
    """Definitions of queues; saving one creates or changes it in SQS too."""

    place = Place(Section.WORK, 1, "Queues", "stacks")
    grants = Grants(
        viewers=("view_queue",),
        operators=("change_queue", "send_message", "peek_message", "redrive_queue"),
        administrators=("add_queue", "delete_queue", "purge_queue", "change_handler"),
    )

    class Media:
        js = ("queuesite/queues.js",)
