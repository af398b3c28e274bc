"""The verbs of `manage.py sqs` for notices: silence, test-alert."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jobs import alerts
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.databases import database_clock


class AlertVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_alert_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""
        silence = verb("silence", "send no notices of a queue's problems, or of any, for a while", queue=False)
        silence.add_argument("name", metavar="NAME", nargs="?", help="the queue's name; without it: everything")
        silence.add_argument("span", metavar="SPAN", help="how long: 30m, 2h or 3d, at most 30d; 0 ends the silence")
        verb("test-alert", "send a test notice to the addresses of ALERT_URLS", queue=False)

    def do_silence(self, options: dict[str, Any]) -> None:
        """Begin or end a silence."""
        span = alerts.span_of(options["span"])
        until = database_clock.now() + span if span else None
        alerts.silence(options["name"], until)
        what = "everything" if options["name"] is None else f"queue {options['name']!r}"
        self.say(f"{what} is " + ("silent no more" if until is None else f"silent until {until:%Y-%m-%d %H:%M} UTC"))

    def do_test_alert(self, options: dict[str, Any]) -> None:
        """Send a test notice."""
        alerts.test()
        self.say("the test notice has been sent")
