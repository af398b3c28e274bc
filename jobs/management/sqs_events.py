"""The verb of `manage.py sqs` for what happened: events."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jobs.management.sqs_arguments import add_times
from jobs.management.sqs_output import as_api
from queues import events
from queues.events import EventKind
from queuesite.foundation.commands import QueuesiteCommand, integer


class EventVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_event_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""
        listing = verb(
            "events",
            "list events: what happened to workers and masters, and who did what to queues",
            queue=False,
            as_json=True,
        )
        listing.add_argument("name", metavar="NAME", nargs="?", help="only events of this queue")
        add_times(listing)
        listing.add_argument("--kind", metavar="KIND", choices=list(EventKind), help=f"one of {', '.join(EventKind)}")
        listing.add_argument(
            "--limit", metavar="N", type=integer(1, 1_000), default=50, help="how many, the latest ones (default: 50)"
        )

    def do_events(self, options: dict[str, Any]) -> None:
        """List the latest events, the last one at the end."""
        found, _ = events.find(
            queue=options["name"], **{name: options[name] for name in ("kind", "since", "until", "limit")}
        )
        found.reverse()
        if options["json"]:
            from jobs.api.events import EventOut

            self.print_json(as_api(EventOut.of(one) for one in found))
            return
        if not found:
            of = f" of queue {options['name']!r}" if options["name"] else ""
            self.say(f"no events{of}" + (" in this time" if options["since"] or options["until"] else ""))
            return
        self.print_table(
            ("time (UTC)", "queue", "what happened", "by"),
            [(f"{one.at:%Y-%m-%d %H:%M:%S}", one.queue_name, one.text, one.actor or "the system") for one in found],
        )
