"""The verb of `manage.py sqs` that lists queues."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jobs import ranking, reads, statistics
from jobs.management.sqs_output import queue_as_json, state_words
from queues.handlers import catalogue
from queues.health.figures import oldest_message
from queues.models import Queue
from queues.state import Context
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.quantities import duration

#: More than there are.
_ALL = 10_000_000


class ListingVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_listing_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verb's arguments."""
        listing = verb("list", "list the queues", queue=False, as_json=True)
        orders = [*ranking.ALL_SORTS, *(f"-{name}" for name in ranking.ALL_SORTS)]
        listing.add_argument(
            "--sort",
            metavar="BY",
            choices=orders,
            default="name",
            help=f"{', '.join(ranking.ALL_SORTS)}; the highest first after -: --sort=-rate (default: name)",
        )

    def do_list(self, options: dict[str, Any]) -> None:
        """List queues, with the figure that they are sorted by."""
        context = reads.queue_context()
        queues, _ = ranking.list_queues(sort=options["sort"], cursor=None, limit=_ALL, context=context)
        if options["json"]:
            handlers = catalogue.current()
            self.print_json([queue_as_json(queue, handlers, context) for queue in queues])
            return
        if not queues:
            self.say(f"no queues; create one with `{PROGRAM} sqs create NAME`")
            return
        figure = _figure(options["sort"].removeprefix("-"), queues, context)
        more = () if figure is None else (figure[0],)
        columns = ("name", "owner", "handler", "concurrency", "consumers", "priority", "state", "visible")
        self.print_table(
            (*columns, *more, "queue URL"),
            (
                (
                    queue.name,
                    queue.account or "",
                    queue.handler,
                    queue.concurrency,
                    f"1-{queue.max_consumers}" if queue.max_consumers > 1 else 1,
                    queue.priority,
                    state_words(queue, context),
                    queue.depth_visible,
                    *(() if figure is None else (figure[1](queue),)),
                    queue.queue_url,
                )
                for queue in queues
            ),
            numeric=("concurrency", "consumers", "priority", "visible", *more),
        )


Show = Callable[[Queue], str]


def _figure(sort: str, queues: list[Queue], context: Context) -> tuple[str, Show] | None:
    """The column that an order adds which no other column shows: its title, and a queue's text."""
    if ranking.is_ranking(sort) and sort != "age":
        return _of_last_minutes(sort, queues)
    plain: dict[str, tuple[str, Show]] = {
        "age": ("oldest", lambda queue: _age(queue, context)),
        "inFlight": ("in flight", lambda queue: f"{queue.depth_in_flight}"),
        "deadLetters": ("dead letters", lambda queue: f"{queue.dead_letters}"),
        "createdAt": ("created (UTC)", lambda queue: f"{queue.created_at:%Y-%m-%d %H:%M}" if queue.created_at else ""),
    }
    return plain.get(sort)


def _age(queue: Queue, context: Context) -> str:
    found = oldest_message(queue, context)
    return "" if found is None else duration(max(0.0, (context.now - found.sent_at).total_seconds()))


def _of_last_minutes(sort: str, queues: list[Queue]) -> tuple[str, Show]:
    figures = statistics.figures(queues)

    def share(queue: Queue) -> str:
        failed = figures[queue.id].failed
        return "" if failed is None else f"{failed:.1%}"

    def p95(queue: Queue) -> str:
        seconds = figures[queue.id].p95
        return "" if seconds is None else duration(seconds)

    shown: dict[str, tuple[str, Show]] = {
        "rate": ("rate /min", lambda queue: f"{figures[queue.id].rate:.1f}"),
        "failed": ("failed", share),
        "p95": ("p95", p95),
    }
    return shown[sort]
