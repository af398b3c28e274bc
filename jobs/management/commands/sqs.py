"""`manage.py sqs`: queues and messages from the command line."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs import letters
from jobs import services as processing
from jobs.management import trying
from jobs.management.sqs_adoption import AdoptionVerbs
from jobs.management.sqs_alerts import AlertVerbs
from jobs.management.sqs_arguments import add_setting
from jobs.management.sqs_events import EventVerbs
from jobs.management.sqs_listing import ListingVerbs
from jobs.management.sqs_output import handler_as_json
from jobs.management.sqs_pausing import PausingVerbs
from jobs.management.sqs_records import RecordVerbs
from jobs.management.sqs_sending import SendingVerbs
from queues import messages, services, setting_checks, tripping
from queues import sync as syncing
from queues.handlers import catalogue, option_fields, registry
from queues.models import Queue
from queues.settings import ASKED, SETTINGS
from queuesite.foundation.commands import Parser, number
from queuesite.foundation.databases import MongoError
from queuesite.foundation.errors import QueueMissing
from queuesite.foundation.quantities import plural


class Command(SendingVerbs, RecordVerbs, AdoptionVerbs, EventVerbs, AlertVerbs, ListingVerbs, PausingVerbs):
    """Subcommands for queues, messages, handlers and the sync."""

    help = "Manage queues and their messages."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)

        def verb(name: str, text: str, *, queue: bool = True, as_json: bool = False) -> argparse.ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            if queue:
                sub.add_argument("name", metavar="NAME", help="the queue's name")
            if as_json:
                sub.add_argument("--json", action="store_true", help="print JSON")
            return sub

        create = verb(
            "create", "create a queue and its dead-letter queue NAME-dlq; a name that ends in .fifo makes FIFO queues"
        )
        for setting in ASKED.values():
            add_setting(create, setting)
        create.add_argument("--no-dlq", action="store_true", help="create no dead-letter queue")
        create.add_argument(
            "--take-over",
            action="store_true",
            help="if SQS has such a queue already, take it over: its attributes are set as chosen here",
        )
        self.add_verbs(verb)
        self.add_record_verbs(verb)
        self.add_event_verbs(verb)
        self.add_pausing_verbs(verb)
        verb(
            "delete", "delete a queue with its messages and dead-letter queue; an adopted one stays in SQS"
        ).add_argument("--yes", action="store_true", help="do not ask for confirmation")
        self.add_listing_verbs(verb)
        self.add_sending_verbs(verb)
        verb("size", "count a queue's messages: visible, in flight, delayed, dead letters", as_json=True)
        limits = SETTINGS["concurrency"].limit_words
        verb(
            "set-concurrency", "set how many messages a consumer handles at once; running consumers follow"
        ).add_argument("concurrency", metavar="N", type=number(f"a whole number from {limits}"), help=limits)
        verb("purge", "delete all messages of a queue; SQS allows it once a minute").add_argument(
            "--yes", action="store_true", help="do not ask for confirmation"
        )
        verb("redrive", "move dead letters back to their queue").add_argument(
            "--kind", metavar="FINGERPRINT", help="only those whose last error is of this kind, see `failures`"
        )
        verb("notify", "make the master check a queue now, as a send does")
        verb("try-now", "end a queue's backoff, so that it is tried at once")
        verb(
            "sync",
            "create and update queues in SQS to match the database, and follow what SQS says of adopted queues",
            queue=False,
            as_json=True,
        )
        verb(
            "handlers",
            "list the handlers that live workers announce or that are importable here",
            queue=False,
            as_json=True,
        )
        self.add_alert_verbs(verb)
        trying.add_arguments(
            verb(
                "try", "have a queue's handler handle one message here, in the terminal; nothing is received or deleted"
            )
        )

    def run(self, **options: Any) -> None:
        getattr(self, "do_" + options["verb"].replace("-", "_"))(options)

    def do_create(self, options: dict[str, Any]) -> None:
        settings = {name: options[name] for name in ASKED if options.get(name) is not None}
        queue = services.create(
            options["name"], with_dlq=not options["no_dlq"], settings=settings, take_over=options["take_over"]
        )
        for warning in setting_checks.warnings(queue):
            self.warn(warning)
        dlq = " with its dead-letter queue" if queue.dlq_url else " without a dead-letter queue"
        self.say(f"queue {queue.name!r} created{dlq}: {queue.queue_url}")

    def do_delete(self, options: dict[str, Any]) -> None:
        name = options["name"]
        queue = services.get(name)
        if not options["yes"] and not self.confirm(_delete_question(queue), assume_yes=False):
            self.say("nothing deleted")
            return
        processing.delete_queue(name)
        stays = "" if queue.managed else f" here; it stays in SQS with its messages: {queue.queue_arn}"
        self.say(f"queue {name!r} {'deleted' if queue.managed else 'forgotten'}{stays}")

    def do_size(self, options: dict[str, Any]) -> None:
        counts = services.size(options["name"]).as_dict()
        if options["json"]:
            self.print_json(counts)
            return
        self.print_table(
            ("queue", "visible", "in flight", "delayed", "dead letters"),
            [tuple(counts.values())],
            numeric=("visible", "in flight", "delayed", "dead letters"),
        )

    def do_set_concurrency(self, options: dict[str, Any]) -> None:
        services.update(options["name"], {"concurrency": options["concurrency"]})
        self.say(f"concurrency of {options['name']!r} is {options['concurrency']} now")

    def do_purge(self, options: dict[str, Any]) -> None:
        name = options["name"]
        services.get(name)
        if not options["yes"]:
            total = services.size(name).depth.total
            if not self.confirm(f"Delete all {total} messages of queue {name!r}?", assume_yes=False):
                self.say("nothing purged")
                return
        services.purge(name)
        self.say(f"queue {name!r} purged")

    def do_redrive(self, options: dict[str, Any]) -> None:
        total = services.size(options["name"]).dead_letters
        with self.progress("redriving", total) as advance:
            if options["kind"] is not None:
                moved = letters.redrive_kind(options["name"], options["kind"], advance)
            else:
                moved = messages.redrive(options["name"], advance).moved
        self.say(f"{plural(moved, 'dead letter')} moved back to {options['name']!r}")

    def do_notify(self, options: dict[str, Any]) -> None:
        queue = services.notify(options["name"])
        after = " (it is paused, and processed once it is resumed)" if queue.paused else ""
        self.say(f"the master has been asked to look at {queue.name!r}{after}")

    def do_try_now(self, options: dict[str, Any]) -> None:
        changed = tripping.try_now(options["name"])
        self.say(f"queue {options['name']!r} " + ("is tried now" if changed else "does not back off"))

    def do_sync(self, options: dict[str, Any]) -> None:
        with self.progress("syncing", None) as advance:
            report = syncing.sync(progress=advance)
        if options["json"]:
            self.print_json(report.as_dict())
        else:
            self.say(report.summary)
            for name in report.vanished:
                self.say(f"  vanished from SQS, and not created, since others own it: {name}")
            for name in report.only_in_sqs:
                self.say(f"  only in SQS, left alone: {name}")
        if report.failed:
            lines = "; ".join(f"{name}: {reason}" for name, reason in report.failed.items())
            raise CommandError(f"{plural(len(report.failed), 'queue')} failed: {lines}", returncode=1)

    def do_try(self, options: dict[str, Any]) -> None:
        self.say(trying.try_message(options))

    def do_handlers(self, options: dict[str, Any]) -> None:
        try:
            handlers = catalogue.current()
        except MongoError as error:
            self.warn(
                f"what workers announce cannot be read ({error}); these are the handlers that are importable here"
            )
            handlers = catalogue.Catalogue(registry.all_handlers(), catalogue.Live())
        if options["json"]:
            self.print_json([handler_as_json(one) for one in handlers.values()])
            return
        self.print_table(
            ("handler", "versions", "kind", "options", "failures", "description"),
            (
                (
                    one.name,
                    ", ".join(announced.version for announced in one.announced) or "no live worker",
                    f"batch ({one.batch})" if one.batch else one.kind,
                    ", ".join(option.name for option in option_fields.fields(one.schema)),
                    "; ".join([*one.retry, *([f"breaker: {one.breaker}"] if one.breaker is not None else [])]),
                    one.summary,
                )
                for one in handlers.values()
            ),
        )


def _delete_question(queue: Queue) -> str:
    """What deleting this queue would delete, as a question. Asks SQS for the numbers."""
    if not queue.managed:
        return (
            f"Forget queue {queue.name!r} and its records here? It stays in SQS with its messages, since others own it."
        )
    try:
        size = services.size(queue.name)
    except QueueMissing:
        return f"Delete queue {queue.name!r}, which SQS does not have any more?"
    return f"Delete queue {queue.name!r} with {size.depth.total} messages and {size.dead_letters} dead letters?"
