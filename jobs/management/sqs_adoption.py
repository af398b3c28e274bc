"""The verbs of `manage.py sqs` for queues that others own: adopt, discover."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jobs.management.sqs_arguments import add_setting
from queues import adoption, setting_checks
from queues.models import Queue
from queues.settings import CHOSEN_FOR_ADOPTED, FIFO_ONLY
from queuesite.foundation.commands import QueuesiteCommand


class AdoptionVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""
        adopt = verb(
            "adopt",
            "process a queue that others own: its attributes in SQS are read and followed, never written",
            queue=False,
        )
        adopt.add_argument("queue", metavar="QUEUE", help="the queue's name in SQS, its URL or its ARN")
        adopt.add_argument("--name", metavar="NAME", help="its name here (default: the same as in SQS)")
        for setting in CHOSEN_FOR_ADOPTED.values():
            add_setting(adopt, setting, required=setting.name == "handler")
        discover = verb("discover", "list the queues in SQS that are not defined here", queue=False, as_json=True)
        discover.add_argument("--prefix", metavar="TEXT", default="", help="only queues whose names begin with it")
        discover.add_argument("--region", metavar="REGION", help="AWS region (default: AWS_REGION)")

    def do_adopt(self, options: dict[str, Any]) -> None:
        """Adopt a queue."""
        settings = {name: options[name] for name in CHOSEN_FOR_ADOPTED if options.get(name) is not None}
        queue = adoption.adopt(
            options["queue"], handler=settings.pop("handler"), name=options["name"], settings=settings
        )
        for warning in setting_checks.warnings(queue):
            self.warn(warning)
        self.say(f"queue {queue.name!r} adopted: {queue.queue_arn}")
        self.say(f"  {held(queue)}")

    def do_discover(self, options: dict[str, Any]) -> None:
        """List what may be adopted."""
        found = adoption.discover(prefix=options["prefix"], region=options["region"])
        if options["json"]:
            self.print_json([one.as_dict() for one in found])
            return
        if not found:
            self.say("SQS has no queue that is not defined here")
            return
        self.print_table(("name", "queue URL"), [(one.name, one.queue_url) for one in found])
        if len(found) == adoption.MOST_DISCOVERED:
            self.say(f"these are the first {len(found):,}; --prefix shows others")


def held(queue: Queue) -> str:
    """What SQS holds of a queue that others own, in one line."""
    letters = (
        f"dead letters after {queue.max_receive_count} receives to {queue.dlq_url}"
        if queue.dlq_url
        else "no dead-letter queue: rejected messages are retried until SQS drops them"
    )
    fifo = [f", {one.words}: {one.said(getattr(queue, name))}" for name, one in FIFO_ONLY.items() if queue.fifo]
    return (
        f"visibility timeout {queue.visibility_timeout} s, retention {queue.retention_seconds} s, "
        f"messages of up to {queue.max_message_bytes} bytes, {letters}{''.join(fifo)}"
    )
