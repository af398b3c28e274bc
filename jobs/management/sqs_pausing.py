"""The verbs of `manage.py sqs` that stop and go on: pause, resume, undo."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from queues import pausing, services
from queues.pausing import Note
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.home import PROGRAM


class PausingVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_pausing_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""
        for name, text in (
            ("pause", "stop processing queues; consumers finish what is in flight"),
            ("resume", "process paused queues again"),
        ):
            one = verb(name, text, queue=False)
            one.add_argument("names", metavar="NAME", nargs="+", help="the queue's name; several are undone as one")
            one.add_argument("--reason", metavar="TEXT", default="", help="why; the queue keeps it")
        undo = verb("undo", "undo a pause or resume, for exactly those queues that it changed", queue=False)
        undo.add_argument(
            "change", metavar="CHANGE", help="the id that `pause` or `resume` printed, or `pauseChange` of a queue"
        )

    def do_pause(self, options: dict[str, Any]) -> None:
        """Pause queues."""
        self._set(options, True, "is paused", "is paused already")

    def do_resume(self, options: dict[str, Any]) -> None:
        """Resume queues."""
        self._set(options, False, "is resumed", "is not paused")

    def _set(self, options: dict[str, Any], paused: bool, done: str, already: str) -> None:
        note = Note(options["reason"], pausing.new_change())
        names = list(dict.fromkeys(options["names"]))
        changed = services.set_all_paused(names, paused, note)
        for name in names:
            self.say(f"queue {name!r} {done if name in changed else already}")
        if changed:
            self.say(f"to undo it: {PROGRAM} sqs undo {note.change}")

    def do_undo(self, options: dict[str, Any]) -> None:
        """Undo a pause or resume."""
        done = pausing.undo(options["change"])
        for name in done:
            self.say(f"queue {name!r} is as before")
        if not done:
            self.say("nothing to undo: no queue is as that change left it")
