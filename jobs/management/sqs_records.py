"""The verbs of `manage.py sqs` for what was done: attempts, jobs, failures, logs, top, delete-letters."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from bson import ObjectId
from rich.live import Live

from jobs import attempt_reads, letters, reads
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from jobs.management import sqs_top
from jobs.management.sqs_arguments import add_times
from jobs.management.sqs_output import as_api
from jobs.models import JobStatus
from queues import services
from queuesite.foundation.commands import QueuesiteCommand, integer
from queuesite.foundation.databases import mongodb_errors

#: Most rows of a list, and attempts that `logs` begins with.
MOST = 1_000
#: Newest attempts in which `logs --follow` looks for those that it has not shown yet.
LOOKED_AT = 200
#: Seconds between two looks of `logs --follow`, and of `top`.
FOLLOW_SECONDS = 1.0
TOP_SECONDS = 2
#: What a terminal might take for an order, in texts that others wrote.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` without control characters but tabs and line ends."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class RecordVerbs(QueuesiteCommand):
    """Mixed into the command."""

    def add_record_verbs(self, verb: Callable[..., argparse.ArgumentParser]) -> None:
        """Add the verbs' arguments."""

        def listing(name: str, text: str) -> argparse.ArgumentParser:
            sub = verb(name, text, queue=False, as_json=True)
            sub.add_argument("--queue", metavar="NAME", help="only of this queue")
            sub.add_argument(
                "--limit", metavar="N", type=integer(1, MOST), default=20, help="how many (default: %(default)s)"
            )
            return sub

        attempts = listing("attempts", "list the recorded attempts at messages, the newest first")
        attempts.add_argument("--message", metavar="ID", help="only at this message")
        attempts.add_argument("--job", metavar="ID", help="only of this job")
        attempts.add_argument("--handler", metavar="NAME", help="only of this handler")
        attempts.add_argument("--kind", metavar="FINGERPRINT", help="only of this kind of failure")
        attempts.add_argument("--outcome", choices=AttemptOutcome.values, help="only with this outcome")
        add_times(attempts)
        attempts.add_argument("--text", metavar="TEXT", help="only those whose error contains this, in any case")
        jobs = listing("jobs", "list the runs of queues by consumers, the newest first")
        jobs.add_argument("--status", choices=JobStatus.values, help="only with this status")
        add_times(jobs)
        jobs.add_argument("--worker", metavar="ID", help="only of this worker")
        failures = listing("failures", "list the kinds of failure and the reasons of retries, the last seen first")
        failures.add_argument("--kind", choices=list(reads.FAILURE_KINDS), help="only failures, or only retries")
        logs = verb("logs", "print what a queue's latest attempts logged, the oldest first")
        logs.add_argument(
            "--lines",
            metavar="N",
            type=integer(1, MOST),
            default=10,
            help="attempts to begin with (default: %(default)s)",
        )
        logs.add_argument("--follow", action="store_true", help="go on with new attempts, until Ctrl-C")
        top = verb("top", "show the busiest queues; refreshed in a terminal", queue=False)
        top.add_argument("--once", action="store_true", help="print it once")
        top.add_argument(
            "--seconds",
            metavar="S",
            type=integer(1, 3_600),
            default=TOP_SECONDS,
            help="seconds between two refreshes (default: %(default)s)",
        )
        top.add_argument(
            "--limit", metavar="N", type=integer(1, MOST), default=20, help="queues to show (default: %(default)s)"
        )
        delete = verb("delete-letters", "delete the dead letters whose last error is of a kind")
        delete.add_argument("--kind", metavar="FINGERPRINT", required=True, help="see `failures`")
        delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def do_attempts(self, options: dict[str, Any]) -> None:
        """List attempts."""
        names = ("message", "queue", "job", "handler", "kind", "outcome", "text", "since", "until", "limit")
        found, _ = attempt_reads.find(**{name: options[name] for name in names})
        if options["json"]:
            from jobs.api.attempt_schemas import AttemptOut

            self.print_json(as_api(AttemptOut.of(one) for one in found))
            return
        self.print_table(
            ("started (UTC)", "outcome", "queue", "message", "receive", "waited", "seconds", "error"),
            (
                (
                    f"{one.started_at:%Y-%m-%d %H:%M:%S}",
                    one.outcome,
                    one.queue_name,
                    one.message_id,
                    one.receive_count,
                    "" if one.waited is None else f"{one.waited:.2f}",
                    f"{one.seconds:.3f}",
                    harmless(one.error)[:200],
                )
                for one in found
            ),
            numeric=("receive", "waited", "seconds"),
        )

    def do_jobs(self, options: dict[str, Any]) -> None:
        """List jobs."""
        names = ("queue", "status", "worker", "since", "until", "limit")
        found, _ = reads.find_jobs(**{name: options[name] for name in names})
        if options["json"]:
            from jobs.api.schemas import JobOut

            self.print_json(as_api(JobOut.of(job) for job in found))
            return
        self.print_table(
            ("id", "created (UTC)", "queue", "status", "reason", "messages", "failed", "retried", "worker"),
            (
                (
                    job.id,
                    f"{job.created_at:%Y-%m-%d %H:%M:%S}",
                    job.queue_name,
                    job.status,
                    job.end_reason,
                    job.message_count,
                    job.failed_count,
                    job.retried_count,
                    job.processor.get("workerId"),
                )
                for job in found
            ),
            numeric=("messages", "failed", "retried"),
        )

    def do_failures(self, options: dict[str, Any]) -> None:
        """List kinds of failure."""
        found, _ = reads.find_failures(queue=options["queue"], kind=options["kind"], limit=options["limit"])
        if options["json"]:
            from jobs.api.schemas import FailureOut

            self.print_json(as_api(FailureOut.of(failure) for failure in found))
            return
        self.print_table(
            ("kind", "last seen (UTC)", "queue", "count", "failure", "message"),
            (
                (
                    one.fingerprint,
                    f"{one.last_seen_at:%Y-%m-%d %H:%M:%S}",
                    one.queue_name,
                    one.count,
                    harmless(one.title),
                    harmless(one.message)[:200],
                )
                for one in found
            ),
            numeric=("count",),
        )

    def do_logs(self, options: dict[str, Any]) -> None:
        """Print, and follow, what attempts logged."""
        services.get(options["name"])  # says so if there is none
        looked_at = max(options["lines"], LOOKED_AT if options["follow"] else 0)
        shown: set[ObjectId] = set()
        wanted = options["lines"]
        while True:
            with mongodb_errors():
                found, _ = attempt_reads.find(queue=options["name"], limit=looked_at)
            new = [one for one in found if one.id not in shown]
            for one in reversed(new[:wanted]):
                self.say("\n".join(lines_of(one)))
            self.stdout.flush()
            if not options["follow"]:
                return
            shown, wanted = {one.id for one in found}, looked_at
            time.sleep(FOLLOW_SECONDS)

    def do_top(self, options: dict[str, Any]) -> None:
        """Show the busiest queues, again and again in a terminal."""
        console = self.console
        if options["once"] or not console.is_terminal:
            console.print(sqs_top.picture(options["limit"]))
            return
        with Live(sqs_top.picture(options["limit"]), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(options["seconds"])
                with mongodb_errors():
                    live.update(sqs_top.picture(options["limit"]), refresh=True)

    def do_delete_letters(self, options: dict[str, Any]) -> None:
        """Delete dead letters of a kind."""
        name, kind = options["name"], options["kind"]
        letters.of_kind(kind)
        services.with_dead_letters(name, "delete")
        question = f"Delete the dead letters of queue {name!r} whose last error is of kind {kind}?"
        if not options["yes"] and not self.confirm(question, assume_yes=False):
            self.say("nothing deleted")
            return
        self.say(f"{letters.delete_kind(name, kind)} dead letters of {name!r} deleted")


def lines_of(one: Attempt) -> Iterator[str]:
    """An attempt and what it logged, for a terminal."""
    error = f": {harmless(one.error).splitlines()[0]}" if one.error else ""
    yield (
        f"{one.started_at:%Y-%m-%d %H:%M:%S} {one.outcome} {one.message_id} attempt {one.receive_count} "
        f"{one.seconds:.3f} s{error}"
    )
    for line in harmless(one.log).splitlines():
        yield f"    {line}"
