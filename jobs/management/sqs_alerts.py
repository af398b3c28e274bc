"""The verbs of `manage.py sqs` for notices: alerts, notices, silence, silences, test-alert."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from django.core.management import CommandError

from jobs import alerts, notices, silences
from jobs.management.sqs_output import as_api
from queuesite.foundation.commands import QueuesiteCommand, integer
from queuesite.foundation.quantities import plural

#: Most rows of a list.
MOST = 1_000


class AlertVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_alert_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""
        for name, text in (
            ("alerts", "list the problems that caused a notice, or are about to"),
            ("notices", "list the notices sent lately and what each address answered, the newest first"),
        ):
            verb(name, text, queue=False, as_json=True).add_argument(
                "--limit", metavar="N", type=integer(1, MOST), default=20, help="how many (default: %(default)s)"
            )
        silence = verb("silence", "send no notices about some queues, or about anything, for a while", queue=False)
        silence.add_argument("names", metavar="NAME", nargs="*", help="the queues' names; without any: everything")
        silence.add_argument("span", metavar="SPAN", help="how long: 30m, 2h or 3d, at most 30d; 0 ends the silence")
        silence.add_argument("--reason", metavar="TEXT", default="", help="why; pages and events show it")
        verb("silences", "list the silences in effect, with who began them and why", queue=False, as_json=True)
        verb("test-alert", "send a test notice to each address of ALERT_URLS and show what it answers", queue=False)

    def do_alerts(self, options: dict[str, Any]) -> None:
        """List what is open."""
        found = alerts.open_alerts(options["limit"])
        if options["json"]:
            from jobs.api.notices import AlertOut

            self.print_json(as_api(AlertOut.of(one) for one in found))
            return
        if not found:
            self.say("nothing is wrong of which a notice was sent, or is about to be")
            return
        self.print_table(
            ("queue", "problem", "what is wrong", "since (UTC)", "notice"),
            [
                (
                    one.alert.subject or "system",
                    one.alert.problem,
                    one.alert.sentence,
                    f"{one.alert.first_seen_at:%Y-%m-%d %H:%M}",
                    f"silenced until {one.silence.until:%Y-%m-%d %H:%M}" if one.silence else one.alert.state,
                )
                for one in found
            ],
        )

    def do_notices(self, options: dict[str, Any]) -> None:
        """List what was sent."""
        found, _ = notices.find(limit=options["limit"])
        if options["json"]:
            from jobs.api.notices import NoticeOut

            self.print_json(as_api(NoticeOut.of(one) for one in found))
            return
        if not found:
            self.say("no notice was sent")
            return
        self.print_table(
            ("time (UTC)", "notice", "addresses"),
            [
                (
                    f"{one.at:%Y-%m-%d %H:%M:%S}",
                    f"{one.title}: {one.body.splitlines()[0] if one.body else ''}",
                    "; ".join(f"{at['target']}: {'took it' if at['took'] else at['text']}" for at in one.answers),
                )
                for one in found
            ],
        )

    def do_silence(self, options: dict[str, Any]) -> None:
        """Begin or end a silence."""
        span = silences.span_of(options["span"])
        names = options["names"]
        if not span:
            ended = silences.end_of(names)
            self.say(f"{plural(ended, 'silence')} ended")
            return
        for one in silences.begin(names, span, options["reason"]):
            what = f"queue {one.subject!r}" if one.subject else "everything"
            self.say(f"{what} is silent until {one.until:%Y-%m-%d %H:%M} UTC")

    def do_silences(self, options: dict[str, Any]) -> None:
        """List the silences."""
        found = silences.current()
        if options["json"]:
            from jobs.api.notices import SilenceOut

            self.print_json(as_api(SilenceOut.of(one) for one in found))
            return
        if not found:
            self.say("no silence is in effect")
            return
        self.print_table(
            ("queue", "until (UTC)", "by", "why"),
            [(one.subject or "everything", f"{one.until:%Y-%m-%d %H:%M}", one.actor, one.reason) for one in found],
        )

    def do_test_alert(self, options: dict[str, Any]) -> None:
        """Send a test notice."""
        answers = notices.test()
        for one in answers:
            self.say(f"{one.target}: {'took the test notice' if one.took else one.text}")
        if not all(one.took for one in answers):
            raise CommandError("not every address of ALERT_URLS took the test notice", returncode=1)
