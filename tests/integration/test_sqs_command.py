"""`manage.py sqs`, every verb of it, against real servers."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from jobs.management.commands import sqs as command
from jobs.models import Failure, FailureCount, Job
from jobs.repositories import throughput, workers
from jobs.throughput_models import Throughput, ThroughputHour
from queues import adoption, messages, services, tripping
from queues.messages import SendReport
from queues.models import DepthSample, Queue
from queues.settings import SETTINGS
from queues.sqs import OutgoingMessage, get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import collection, database_clock
from tests.conftest import Configure
from tests.support import records
from tests.support.adopted import Owner
from tests.support.api import everything
from tests.support.faults import SqsProxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.usefixtures("queues")


def sqs(*args: object) -> str:
    """What the command prints to stdout."""
    out = io.StringIO()
    call_command("sqs", *map(str, args), stdout=out)
    return out.getvalue()


def refused(*args: object) -> tuple[int, str]:
    """The exit code of a command that fails, and what it says."""
    with pytest.raises(CommandError) as caught:
        sqs(*args)
    text = str(caught.value)
    assert "\n" not in text
    return caught.value.returncode, text


def misused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What is said of a command line that is wrong in itself; the exit code is 2."""
    with pytest.raises((SystemExit, CommandError)) as caught:
        sqs(*args)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
        text = capsys.readouterr().err
        assert len(text.splitlines()) == 1
        return text
    return str(caught.value)  # call_command's way of saying the same


def size(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(sqs("size", name, "--json"))
    return value


def bodies(name: str, count: int) -> list[str]:
    gateway = get_gateway()
    url = services.get(name).queue_url
    found: list[str] = []

    def enough() -> bool:
        while received := gateway.receive(url, limit=10, wait=0):
            found.extend(m.body for m in received)
            gateway.delete(url, [m.receipt_handle for m in received])
        return len(found) >= count

    eventually(enough, 20, f"{count} messages came")
    return found


class TestCreate:
    def test_defaults(self) -> None:
        out = sqs("create", "orders")

        queue = services.get("orders")
        assert out == f"queue 'orders' created with its dead-letter queue: {queue.queue_url}\n"
        assert queue.concurrency == 5
        assert queue.handler == "log"
        assert queue.dlq_url is not None

    def test_every_option(self) -> None:
        options = '{"min_seconds": 0, "max_seconds": 0}'
        out = sqs(
            *("create", "orders", "--concurrency", 2, "--handler", "simulate", "--handler-options", options),
            *("--priority", 7, "--max-consumers", 3, "--visibility-timeout", 90, "--max-receive-count", 2, "--no-dlq"),
        )

        queue = services.get("orders")
        assert "without a dead-letter queue" in out
        assert (queue.concurrency, queue.handler, queue.priority) == (2, "simulate", 7)
        assert (queue.max_consumers, queue.visibility_timeout, queue.max_receive_count) == (3, 90, 2)
        assert queue.handler_options == {"min_seconds": 0, "max_seconds": 0}
        assert queue.dlq_url is None

    def test_zero_is_a_value(self) -> None:
        code, text = refused("create", "orders", "--concurrency", 0)

        assert code == 2
        assert "concurrency 0 is out of range: expected a whole number from 1 to 5 (MAX_CONCURRENCY)" in text

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--concurrency", "6"], "concurrency 6"),
            (["--priority", "10"], "priority 10"),
            (["--max-consumers", "0"], "max consumers 0"),
            (["--visibility-timeout", "43201"], "visibility timeout 43201"),
            (["--max-receive-count", "0"], "max receive count 0"),
            (["--pool", "g p u"], "pool 'g p u': expected 1 to 50 letters, digits, hyphens and underscores"),
            (["--handler", ""], "handler '': expected 1 to 100 printable characters"),
            (["--handler-options", '{"colour": 1}'], "takes no options, but got colour"),
        ],
    )
    def test_bad_settings(self, options: list[str], words: str) -> None:
        code, text = refused("create", "orders", *options)

        assert code == 2
        assert words in text
        assert services.list_queues() == []

    def test_handler_that_nobody_knows_is_taken_with_a_warning(self) -> None:
        err = io.StringIO()
        call_command("sqs", "create", "orders", "--handler", "nobody", stdout=io.StringIO(), stderr=err)

        assert services.get("orders").handler == "nobody"
        assert "warning: no live worker announces handler 'nobody'" in err.getvalue()

    def test_options_are_checked_by_what_workers_announce(self) -> None:
        records.announce(records.RESIZE)
        code, text = refused("create", "orders", "--handler", "resize", "--handler-options", '{"width": 0}')
        assert (code, services.list_queues()) == (2, [])
        assert "options of handler 'resize': width: expected minimum 1" in text
        sqs("create", "orders", "--handler", "resize", "--handler-options", '{"width": "env:WIDTH"}')

    def test_pool_that_no_worker_is_in(self) -> None:
        sqs("create", "before", "--pool", "night")
        records.register(has={"log": "1"}, pool="gpu")
        code, text = refused("create", "orders", "--pool", "gpuu")
        assert code == 2
        assert "pool 'gpuu' is unknown: no worker is in it; known pools: gpu; start a worker with" in text
        sqs("create", "orders", "--pool", "gpu")
        workers.unregister("w1")
        records.register("w2", has={"log": "1"})
        sqs("create", "later", "--pool", "gpu")
        sqs("set-concurrency", "before", "2")

    def test_number_that_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = "argument --concurrency: 'x' is not a number; expected a whole number from 1 to MAX_CONCURRENCY"
        assert words in misused(capsys, "create", "orders", "--concurrency", "x")

    def test_settings_that_only_a_fifo_queue_has(self) -> None:
        code, text = refused("create", "orders", "--high-throughput")
        assert (code, services.list_queues()) == (2, [])
        assert "high throughput is only for FIFO queues, whose names end in .fifo, which 'orders' does not" in text
        sqs("create", "orders.fifo", "--high-throughput", "--no-content-based-deduplication")
        queue = services.get("orders.fifo")
        assert (queue.high_throughput, queue.content_based_deduplication) == (True, False)

    @pytest.mark.parametrize("name", ["or ders", "orders!", "x" * 81, "żółć", ".fifo", "a.b", "日本"])
    def test_bad_names(self, name: str) -> None:
        code, text = refused("create", name)

        assert code == 2
        assert repr(name) in text
        assert services.list_queues() == []

    def test_duplicate(self) -> None:
        sqs("create", "orders")

        assert refused("create", "orders") == (
            2,
            "queue 'orders' exists already; choose another name, or change that one",
        )

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--concurrency", "many"], "many"),
            (["--handler-options", "{"], "is not JSON"),
            (["--handler-options", "[1]"], "is not a JSON object"),
            (["--colour", "red"], "--colour"),
        ],
    )
    def test_wrong_usage(self, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
        assert words in misused(capsys, "create", "orders", *options)

    def test_sqs_at_fault(self, faulty: SqsProxy) -> None:
        faulty.refuse("CreateQueue", "AccessDenied", "not you", status=403)

        code, text = refused("create", "orders")

        assert code == 1
        assert "not you" in text
        assert services.list_queues() == []


class TestDelete:
    def test_yes(self) -> None:
        sqs("create", "orders")

        assert sqs("delete", "orders", "--yes") == "queue 'orders' deleted\n"
        assert services.list_queues() == []

    @pytest.mark.parametrize(("answer", "deleted"), [("y", True), ("YES", True), ("n", False), ("", False)])
    def test_question(self, monkeypatch: pytest.MonkeyPatch, answer: str, deleted: bool) -> None:
        sqs("create", "orders")
        sqs("send", "orders", 3)
        asked = type_on_terminal(monkeypatch, answer)

        out = sqs("delete", "orders")

        assert asked == ["Delete queue 'orders' with 3 messages and 0 dead letters? [y/N] "]
        assert out == ("queue 'orders' deleted\n" if deleted else "nothing deleted\n")
        assert (services.list_queues() == []) is deleted

    def test_nobody_to_ask(self) -> None:
        sqs("create", "orders")

        code, text = refused("delete", "orders")

        assert code == 2
        assert "--yes" in text
        assert [queue.name for queue in services.list_queues()] == ["orders"]

    def test_queue_that_sqs_lost(self, monkeypatch: pytest.MonkeyPatch, queues: SQSClient) -> None:
        sqs("create", "orders")
        queues.delete_queue(QueueUrl=services.get("orders").queue_url)
        asked = type_on_terminal(monkeypatch, "y")

        assert sqs("delete", "orders") == "queue 'orders' deleted\n"
        assert asked == ["Delete queue 'orders', which SQS does not have any more? [y/N] "]

    def test_unknown(self) -> None:
        assert refused("delete", "nothing", "--yes") == (
            2,
            "there is no queue 'nothing'; `manage.py sqs list` shows all queues",
        )

    def test_sqs_at_fault_keeps_it(self, faulty: SqsProxy) -> None:
        sqs("create", "orders")
        faulty.refuse("DeleteQueue", "AccessDenied", status=403)

        assert refused("delete", "orders", "--yes")[0] == 1
        assert [queue.name for queue in services.list_queues()] == ["orders"]


def type_on_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """Have somebody at a terminal give this answer; the questions asked are put into the list."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return asked


class TestList:
    def test_empty(self) -> None:
        assert sqs("list") == "no queues; create one with `manage.py sqs create NAME`\n"
        assert json.loads(sqs("list", "--json")) == []

    def test_table(self) -> None:
        sqs("create", "orders", "--priority", 4)
        sqs("create", "events.fifo", "--max-consumers", 3)
        sqs("pause", "orders")

        lines = sqs("list").splitlines()

        assert lines[0].split() == [
            *("name", "owner", "handler", "concurrency", "consumers", "priority", "state", "visible", "queue", "URL"),
        ]
        assert lines[1].split()[:7] == ["events.fifo", "log", "5", "1-3", "0", "idle", "0"]
        assert lines[2].split()[:7] == ["orders", "log", "5", "1", "4", "paused", "0"]
        assert lines[2].split()[7] == services.get("orders").queue_url

    def test_sorted_by_what_the_admin_sorts_by(self) -> None:
        now = database_clock.now()
        minute = now.replace(second=0, microsecond=0) - timedelta(minutes=1)
        records.define("idle", dead_letters=4)
        busy = records.define("busy", depth_visible=3, visible_since=now - timedelta(minutes=10))
        throughput.add([throughput.Row(busy.id, "busy", minute, processed=90, failed=10, durations=[100])])
        for sort, title, value in (
            ("-rate", "rate /min", "18.0"),
            ("-failed", "failed", "10.0%"),
            ("-p95", "p95", " s"),
            ("-age", "oldest", " s"),
            ("-visible", "visible", "3"),
        ):
            heading, first, _ = sqs("list", f"--sort={sort}").splitlines()
            assert first.startswith("busy"), sort
            assert title in heading
            assert value in first
        assert [one["name"] for one in json.loads(sqs("list", "--sort=-deadLetters", "--json"))] == ["idle", "busy"]
        with pytest.raises(SystemExit) as refusal:
            sqs("list", "--sort", "colour")
        assert refusal.value.code == 2

    def test_json(self) -> None:
        sqs("create", "orders", "--concurrency", 2)
        queue = services.get("orders")

        [found] = json.loads(sqs("list", "--json"))

        for name in ("createdAt", "updatedAt", "syncedAt"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop(name))
        assert found == {
            "id": str(queue.id),
            "name": "orders",
            "queueUrl": queue.queue_url,
            "dlqUrl": queue.dlq_url,
            "managed": True,
            "queueArn": None,
            "retentionSeconds": None,
            "maxMessageBytes": None,
            "vanishedAt": None,
            **{one.field_name: one.default for one in SETTINGS.values()},
            "concurrency": 2,
            "crashCount": 0,
            "tripCount": 0,
            "tripReason": None,
            "notBefore": None,
            "depth": {
                **dict.fromkeys(("visible", "inFlight", "delayed", "deadLetters"), 0),
                **dict.fromkeys(("observedAt", "deadLettersObservedAt")),
            },
            "fifo": False,
            **dict.fromkeys(("pauseChangedAt", "troubledUntil", "wakeRequestedAt")),
            **dict.fromkeys(("pauseChangedBy", "pauseReason", "pauseChange"), ""),
            "state": "idle",
            "unserved": None,
            "health": "healthy",
            "problems": [],
        }

    @pytest.mark.django_db
    def test_states_are_the_api_s(self) -> None:
        """One word for one thing: what the command line says of a queue, the API says too."""
        now = database_clock.now()
        records.register(has={"log": "1"})
        records.running(records.define("busy"))
        records.define("lost", handler="resize", crash_count=2, depth_visible=7)
        records.define("elsewhere", pool="gpu", paused=True)
        records.define("crashing", crash_count=3, not_before=now + timedelta(minutes=1))
        records.define(
            "tripped", trip_count=2, trip_reason="stripe is unavailable", not_before=now + timedelta(minutes=1)
        )
        records.define("full", depth_visible=2, crash_count=1)
        failing = records.define("wrong")
        throughput.add(
            [throughput.Row(failing.id, "wrong", now.replace(second=0, microsecond=0), processed=1, failed=1)]
        )

        lines = [re.split(" {2,}", line) for line in sqs("list").splitlines()[1:]]
        states = {line[0]: re.sub(r"in \d+ s", "in N s", line[5]) for line in lines}

        assert states == {
            "busy": "active",
            "crashing": "backing-off, next try in N s, crash-looping (3 runs in a row failed)",
            "elsewhere": "paused",
            "tripped": "backing-off, next try in N s, tripped (stripe is unavailable)",
            "full": "waiting",
            "lost": "unserved (no worker has handler resize), crash-looping (2 runs in a row failed)",
            "wrong": "idle, failing (1 of 2 attempts failed in the last 15 minutes)",
        }
        shown = {one["name"]: (one["state"], one["unserved"]) for one in json.loads(sqs("list", "--json"))}
        items = everything().get("/queues").ok()["items"]
        assert shown == {one["name"]: (one["state"], one["unserved"]) for one in items}
        assert shown["lost"][1] == "no worker has handler resize"
        assert [word for word, _ in shown.values()] == [re.split("[ ,]", states[name])[0] for name in shown]


class TestSend:
    def test_numbered_bodies(self) -> None:
        sqs("create", "orders")

        assert sqs("send", "orders", 12) == "12 messages sent to 'orders'\n"

        found = [json.loads(body) for body in bodies("orders", 12)]
        assert sorted(body["number"] for body in found) == list(range(1, 13))
        assert all(body["test"] is True for body in found)

    def test_body_with_any_characters(self) -> None:
        sqs("create", "orders")
        body = '  {"miasto": "Łódź", "emoji": "🚚"}\t'

        sqs("send", "orders", 2, "--body", body)

        assert bodies("orders", 2) == [body, body]

    def test_a_body_without_a_count_is_one_message(self) -> None:
        sqs("create", "orders")

        assert sqs("send", "orders", "--body", "a") == "1 message sent to 'orders'\n"

    def test_file_has_a_message_per_line(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.txt"
        path.write_bytes('first\n\n  \n{"é": "日本"}\r\nlast without newline'.encode())
        sqs("create", "orders")

        assert sqs("send", "orders", "--file", path) == "4 messages sent to 'orders'\n"

        assert sorted(bodies("orders", 4)) == sorted(["first", "  ", '{"é": "日本"}', "last without newline"])

    def test_byte_order_mark_is_no_part_of_a_message(self, tmp_path: Path) -> None:
        path = tmp_path / "messages.txt"
        path.write_bytes(b"\xef\xbb\xbffirst\n")
        sqs("create", "orders")

        sqs("send", "orders", "--file", path)

        assert bodies("orders", 1) == ["first"]

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
        sqs("create", "orders")

        sqs("send", "orders", "--file", "-")

        assert sorted(bodies("orders", 2)) == ["one", "two"]

    def test_delay(self) -> None:
        sqs("create", "orders")

        sqs("send", "orders", 3, "--delay", 900)

        eventually(lambda: size("orders")["delayed"] == 3, 60, "three messages are delayed")

    def test_group_of_a_fifo_queue(self) -> None:
        sqs("create", "orders.fifo")

        sqs("send", "orders.fifo", 12, "--group", "g")

        assert [json.loads(body)["number"] for body in bodies("orders.fifo", 12)] == list(range(1, 13))

    def test_fifo_queue_needs_a_group(self) -> None:
        sqs("create", "orders.fifo")

        code, text = refused("send", "orders.fifo", 1)

        assert code == 2
        assert "needs a message group" in text

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"", "has no line to send"),
            (b"\n\n", "has no line to send"),
            (b"good\n\xff\xfe\n", "is not UTF-8 text (byte 5)"),
        ],
    )
    def test_unusable_file(self, tmp_path: Path, content: bytes | None, words: str) -> None:
        path = tmp_path / "messages.txt"
        if content is not None:
            path.write_bytes(content)
        sqs("create", "orders")

        code, text = refused("send", "orders", "--file", path)

        assert code == 2
        assert f"file {str(path)!r} {words}" in text

    def test_directory_is_no_file(self, tmp_path: Path) -> None:
        sqs("create", "orders")

        assert "Is a directory" in refused("send", "orders", "--file", tmp_path)[1]

    def test_bad_line_is_named_and_nothing_is_sent(self, tmp_path: Path, faulty: SqsProxy) -> None:
        path = tmp_path / "messages.txt"
        path.write_text("good\nbad \x0b\n")
        sqs("create", "orders")

        code, text = refused("send", "orders", "--file", path)

        assert code == 2
        assert text.startswith("message 2 of 2 has the character U+000B")
        assert faulty.count("SendMessageBatch") == 0

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["0"], "0 is out of range; expected a whole number of at least 1"),
            (["-5"], "-5"),
            (["ten"], "'ten' is not a number"),
            (["1", "--delay", "901"], "901 is out of range; expected a whole number from 0 to 900"),
            (["1", "--body", "a", "--file", "b"], "not allowed with"),
            (["1", "--bdy", "a"], "sqs send: unknown argument '--bdy', did you mean --body?; see"),
            (["1", "2"], "unknown argument '2'; see"),
        ],
    )
    def test_wrong_usage(self, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
        sqs("create", "orders")

        assert words in misused(capsys, "send", "orders", *args)

    def test_count_does_not_go_with_a_file(self, tmp_path: Path) -> None:
        sqs("create", "orders")

        assert "COUNT and --file exclude each other" in refused("send", "orders", 1, "--file", tmp_path / "x")[1]

    def test_neither_count_nor_file(self) -> None:
        sqs("create", "orders")

        assert refused("send", "orders") == (
            2,
            "give COUNT, --body TEXT, or --file with a message on each line",
        )

    def test_empty_body(self) -> None:
        sqs("create", "orders")

        code, text = refused("send", "orders", 1, "--body", "")

        assert code == 2
        assert "empty body" in text

    def test_unknown_queue(self) -> None:
        assert refused("send", "nothing", 1)[0] == 2

    def test_sqs_at_fault_half_way_says_how_many_were_sent(self, faulty: SqsProxy) -> None:
        sqs("create", "orders")
        faulty.refuse("SendMessageBatch", "ExpiredToken", status=403)

        code, text = refused("send", "orders", 25)

        assert code == 1
        assert text.endswith("(0 of 25 messages were sent)")

    def test_refused_entries_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        report = SendReport(sent=8, failures={4: "InvalidMessageContents: no", 7: "other"})
        monkeypatch.setattr(messages, "send", lambda *_, **__: report)

        assert refused("send", "orders", 10) == (
            1,
            "8 of 10 messages sent; SQS refused 2, the first of them message 5 (InvalidMessageContents: no)",
        )

    def test_interruption_says_how_many_were_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(name: str, outgoing: object, progress: messages.Progress, *, copies: bool) -> SendReport:
            progress(10)
            raise KeyboardInterrupt

        monkeypatch.setattr(messages, "send", interrupted)

        assert refused("send", "orders", 25) == (130, "interrupted after 10 of 25 messages were sent")


class TestSize:
    def test_json(self) -> None:
        sqs("create", "orders")
        sqs("send", "orders", 3)
        queue = services.get("orders")
        assert queue.dlq_url is not None
        get_gateway().send(queue.dlq_url, [OutgoingMessage("dead")])
        get_gateway().receive(queue.queue_url, limit=1, wait=1)

        expected = {"name": "orders", "visible": 2, "inFlight": 1, "delayed": 0, "deadLetters": 1}
        eventually(lambda: size("orders") == expected, 60, f"the size is {expected}")

    def test_table(self) -> None:
        sqs("create", "orders")
        sqs("send", "orders", 3)

        header, row = sqs("size", "orders").splitlines()

        assert header.split("  ")[0] == "queue"
        assert row.split() == ["orders", "3", "0", "0", "0"]

    def test_queue_that_sqs_lost(self, queues: SQSClient) -> None:
        sqs("create", "orders")
        queues.delete_queue(QueueUrl=services.get("orders").queue_url)

        code, text = refused("size", "orders")

        assert code == 1
        assert "`manage.py sqs sync` creates what is missing" in text


class TestSettings:
    def test_set_concurrency(self) -> None:
        sqs("create", "orders")

        assert sqs("set-concurrency", "orders", 1) == "concurrency of 'orders' is 1 now\n"
        assert services.get("orders").concurrency == 1

    @pytest.mark.parametrize("value", [0, 6, -1])
    def test_concurrency_out_of_range(self, value: int) -> None:
        sqs("create", "orders")

        code, text = refused("set-concurrency", "orders", value)

        assert code == 2
        assert f"concurrency {value} is out of range" in text
        assert services.get("orders").concurrency == 5

    def test_highest_concurrency_is_configured(self, configure: Configure) -> None:
        configure(max_concurrency=40)
        sqs("create", "orders")

        sqs("set-concurrency", "orders", 40)

        assert "from 1 to 40" in refused("set-concurrency", "orders", 41)[1]

    def test_pause_and_resume(self) -> None:
        sqs("create", "orders")

        assert sqs("pause", "orders").startswith("queue 'orders' is paused\nto undo it: manage.py sqs undo ")
        assert services.get("orders").paused
        assert sqs("pause", "orders") == "queue 'orders' is paused already\n"
        assert sqs("resume", "orders").startswith("queue 'orders' is resumed\n")
        assert not services.get("orders").paused
        assert sqs("resume", "orders") == "queue 'orders' is not paused\n"

    def test_several_are_paused_and_that_is_undone_as_one(self) -> None:
        for name in ("a", "b", "c"):
            sqs("create", name)
        sqs("pause", "c")
        said = sqs("pause", "a", "b", "c", "--reason", "the bank is down").splitlines()
        assert said[:3] == ["queue 'a' is paused", "queue 'b' is paused", "queue 'c' is paused already"]
        change = said[3].rpartition(" ")[2]
        sqs("resume", "b")
        assert sqs("undo", change) == "queue 'a' is as before\n"
        assert {queue.name: queue.paused for queue in services.list_queues()} == {"a": False, "b": False, "c": True}
        assert sqs("undo", change) == "nothing to undo: no queue is as that change left it\n"
        assert refused("pause", "a", "nothing")[0] == 2
        assert not services.get("a").paused, "all of them must exist"

    def test_notify(self) -> None:
        sqs("create", "orders")

        assert sqs("notify", "orders") == "the master has been asked to look at 'orders'\n"
        sqs("pause", "orders")
        assert "(it is paused, and processed once it is resumed)" in sqs("notify", "orders")

    def test_try_now(self) -> None:
        sqs("create", "orders")
        assert sqs("try-now", "orders") == "queue 'orders' does not back off\n"
        tripping.tripped(services.get("orders").id, 1, "stripe", database_clock.now() + timedelta(minutes=1))
        assert sqs("try-now", "orders") == "queue 'orders' is tried now\n"
        queue = services.get("orders")
        assert (queue.not_before, queue.trip_count, queue.wake_pending) == (None, 1, True)

    @pytest.mark.parametrize(
        "args",
        [
            ("set-concurrency", "nothing", 1),
            ("pause", "nothing"),
            ("resume", "nothing"),
            ("notify", "nothing"),
            ("try-now", "nothing"),
        ],
    )
    def test_unknown_queue(self, args: tuple[object, ...]) -> None:
        assert refused(*args) == (2, "there is no queue 'nothing'; `manage.py sqs list` shows all queues")


class TestPurge:
    def test_yes(self) -> None:
        sqs("create", "orders")
        sqs("send", "orders", 3)

        assert sqs("purge", "orders", "--yes") == "queue 'orders' purged\n"
        eventually(lambda: size("orders")["visible"] == 0, 70, "the queue is empty")

    @pytest.mark.parametrize(("answer", "left"), [("y", 0), ("no", 3)])
    def test_question(self, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
        sqs("create", "orders")
        sqs("send", "orders", 3)
        asked = type_on_terminal(monkeypatch, answer)

        out = sqs("purge", "orders")

        assert asked == ["Delete all 3 messages of queue 'orders'? [y/N] "]
        assert out == ("queue 'orders' purged\n" if left == 0 else "nothing purged\n")
        eventually(lambda: size("orders")["visible"] == left, 70, f"{left} messages are left")

    def test_nobody_to_ask(self) -> None:
        sqs("create", "orders")

        assert refused("purge", "orders")[0] == 2

    def test_too_soon(self, faulty: SqsProxy) -> None:
        sqs("create", "orders")
        faulty.refuse("PurgeQueue", "AWS.SimpleQueueService.PurgeQueueInProgress", status=403)

        code, text = refused("purge", "orders", "--yes")

        assert code == 2
        assert "one purge a minute" in text


class TestRedrive:
    def test_letters_go_back(self) -> None:
        sqs("create", "orders")
        dlq_url = services.get("orders").dlq_url
        assert dlq_url is not None
        get_gateway().send(dlq_url, [OutgoingMessage("a"), OutgoingMessage("b")])

        assert sqs("redrive", "orders") == "2 dead letters moved back to 'orders'\n"
        assert sorted(bodies("orders", 2)) == ["a", "b"]

    def test_without_dead_letter_queue(self) -> None:
        sqs("create", "orders", "--no-dlq")

        code, text = refused("redrive", "orders")

        assert code == 2
        assert "'orders' has no dead-letter queue" in text


class TestSync:
    def test_text(self, queues: SQSClient) -> None:
        sqs("create", "orders")
        queues.create_queue(QueueName=services.sqs_name("stranger"))

        assert sqs("sync").splitlines() == [
            "0 created, 0 changed, 1 unchanged, 0 failed, 1 only in SQS",
            f"  only in SQS, left alone: {services.sqs_name('stranger')}",
        ]

    def test_json(self, queues: SQSClient) -> None:
        sqs("create", "orders")
        queues.delete_queue(QueueUrl=services.get("orders").queue_url)

        assert json.loads(sqs("sync", "--json")) == {
            "created": ["orders"],
            "changed": [],
            "followed": [],
            "vanished": [],
            "unchanged": 0,
            "failed": {},
            "onlyInSqs": [],
        }

    def test_failures_end_it_with_an_error(self, faulty: SqsProxy) -> None:
        sqs("create", "orders")
        get_gateway().delete_queue(services.get("orders").queue_url)
        faulty.refuse("CreateQueue", "InvalidAttributeValue", "not this one")

        code, text = refused("sync")

        assert code == 1
        assert text == "1 queue failed: orders: SQS refused the request (InvalidAttributeValue: not this one)"


class TestHandlers:
    def test_table(self) -> None:
        lines = sqs("handlers").splitlines()

        assert lines[0].split() == ["handler", "versions", "kind", "options", "failures", "description"]
        names = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
        assert names == sorted(names)
        assert {"http", "log", "simulate"} <= set(names)
        assert any(line.startswith("simulate") and "min_seconds, max_seconds" in line for line in lines)

    def test_json(self) -> None:
        found = {handler["name"]: handler for handler in json.loads(sqs("handlers", "--json"))}

        assert {"http", "log", "simulate"} <= set(found)
        assert found["log"] == {
            "name": "log",
            "versions": [],
            "path": "queues.handlers.builtin.log_message",
            "kind": "sync",
            "timeout": None,
            "batch": None,
            "retry": [],
            "breaker": None,
            "summary": "Log each message.",
            "importable": True,
            "options": None,
        }
        assert "url" in found["http"]["options"]["properties"]
        assert found["http"]["options"]["required"] == ["url"]

    def test_those_of_workers(self) -> None:
        records.announce(records.RESIZE)
        found = {handler["name"]: handler for handler in json.loads(sqs("handlers", "--json"))}
        assert (found["resize"]["versions"], found["resize"]["path"], found["resize"]["kind"]) == (["7"], None, "async")
        (line,) = (line for line in sqs("handlers").splitlines() if line.startswith("resize"))
        assert re.split(" {2,}", line.strip()) == ["resize", "7", "async", "width, token", "Make a smaller copy."]

    def test_batches_and_what_comes_of_failures(self) -> None:
        made = replace(records.RESIZE, batch=100, linger=0.5, retry=("KeyError: Reject",))
        records.announce(replace(made, breaker_failures=20, breaker_within=60.0))
        (line,) = (line for line in sqs("handlers").splitlines() if line.startswith("resize"))
        assert "batch (up to 100, gathered for 0.5 s)" in line
        assert "KeyError: Reject; breaker: 20 failed attempts" in line


class TestUsage:
    def test_unknown_verb(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "explode" in misused(capsys, "explode")

    def test_no_verb(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "VERB" in misused(capsys)

    def test_no_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "NAME" in misused(capsys, "size")

    def test_every_verb_has_its_function(self) -> None:
        parser = command.Command().create_parser("manage.py", "sqs")
        [verbs] = [action for action in parser._actions if action.dest == "verb"]
        assert verbs.choices is not None

        for verb in verbs.choices:
            assert callable(getattr(command.Command, f"do_{str(verb).replace('-', '_')}")), verb


class TestQueuesOfOthers:
    @pytest.fixture
    def owner(self, queues: SQSClient) -> Owner:
        return Owner(queues, get_config().queue_name_prefix)

    def test_adopt(self, owner: Owner) -> None:
        owner.make("orders")

        out = sqs("adopt", owner.arn("orders"), "--handler", "simulate", "--name", "theirs", "--concurrency", 2)

        queue = services.get("theirs")
        assert (queue.managed, queue.handler, queue.concurrency) == (False, "simulate", 2)
        first, second = out.splitlines()
        assert first == f"queue 'theirs' adopted: {owner.arn('orders')}"
        assert "visibility timeout 300 s, retention 86400 s, messages of up to 2048 bytes" in second
        assert f"dead letters after 10 receives to {owner.url('orders-dead')}" in second
        assert "000000000000" in sqs("list")
        (shown,) = json.loads(sqs("list", "--json"))
        assert (shown["managed"], shown["queueArn"]) == (False, owner.arn("orders"))
        assert (shown["visibilityTimeout"], shown["retentionSeconds"], shown["vanishedAt"]) == (300, 86_400, None)

    def test_adopt_without_a_dead_letter_queue(self, owner: Owner) -> None:
        owner.make("orders", dead=None)

        assert "no dead-letter queue: rejected messages are retried" in sqs(
            "adopt", owner.name("orders"), "--handler", "log"
        )

    @pytest.mark.parametrize("option", ["--visibility-timeout", "--max-receive-count"])
    def test_what_the_owner_sets_is_no_option(self, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert option in misused(capsys, "adopt", "orders", "--handler", "log", option, 5)

    def test_handler_is_required(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--handler" in misused(capsys, "adopt", "orders")

    @pytest.mark.parametrize(
        ("queue", "code", "words"),
        [
            ("arn:aws:s3:::bucket", 2, "is an ARN of s3: expected one of SQS"),
            ("https://example.com/x", 2, "is not the URL of a queue"),
            ("no-such", 2, "SQS has no queue 'no-such'"),
        ],
    )
    def test_bad_input(self, queue: str, code: int, words: str) -> None:
        given = refused("adopt", queue, "--handler", "log")

        assert given[0] == code
        assert words in given[1]
        assert services.list_queues() == []

    def test_create_of_what_sqs_has(self, owner: Owner) -> None:
        owner.make("orders", dead=None)

        code, text = refused("create", "orders")
        assert code == 2
        assert "sqs adopt" in text
        assert "--take-over" in text

        sqs("create", "orders", "--take-over")
        assert services.get("orders").managed

    def test_delete_forgets(self, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
        adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        asked: list[str] = []

        def confirm(_: object, question: str, **__: object) -> bool:
            asked.append(question)
            return len(asked) > 1

        monkeypatch.setattr(command.Command, "confirm", confirm)

        assert sqs("delete", "theirs") == "nothing deleted\n"
        assert "It stays in SQS with its messages, since others own it." in asked[0]
        assert services.get("theirs").name == "theirs"
        assert "'theirs' forgotten here; it stays in SQS" in sqs("delete", "theirs")
        assert owner.url("orders")

    def test_delete_removes_the_records_here(self, owner: Owner) -> None:
        queue = adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        ours = services.create("ours")
        minute = database_clock.now()
        for one in (queue, ours):
            records.queued(one)
            throughput.add([throughput.Row(one.id, one.name, minute, processed=1)])
            collection(Failure).insert_one({"queueUrl": one.queue_url})
            collection(FailureCount).insert_one({"_id": one.name, "queueUrl": one.queue_url})
            collection(DepthSample).insert_one({"_id": one.name, "queueId": one.id})

        def left(one: Queue) -> list[int]:
            kept = [(Job, "queueUrl"), (Failure, "queueUrl"), (FailureCount, "queueUrl"), (DepthSample, "queueId")]
            kept += [(Throughput, "queueId"), (ThroughputHour, "queueId")]
            value = {"queueUrl": one.queue_url, "queueId": one.id}
            return [collection(model).count_documents({key: value[key]}) for model, key in kept]

        before = left(ours)
        assert min(before) > 0
        assert left(queue) == before
        sqs("delete", "theirs", "--yes")

        assert left(queue) == [0] * len(before)
        assert left(ours) == before

    def test_sync_reports_what_vanished(self, owner: Owner) -> None:
        adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        owner.delete("orders")

        out = sqs("sync")

        assert "1 vanished" in out
        assert "vanished from SQS, and not created, since others own it: theirs" in out
        assert json.loads(sqs("sync", "--json"))["vanished"] == ["theirs"]
        assert "not in SQS any more" in sqs("list")

    def test_discover(self, owner: Owner) -> None:
        prefix = get_config().queue_name_prefix
        assert sqs("discover", "--prefix", prefix) == "SQS has no queue that is not defined here\n"
        url = owner.make("orders", dead=None)

        assert url in sqs("discover", "--prefix", prefix)
        assert json.loads(sqs("discover", "--prefix", prefix, "--json")) == [
            {"name": owner.name("orders"), "queueUrl": url, "fifo": False}
        ]
        assert refused("discover", "--region", "moon")[0] == 2

    def test_set_concurrency_pause_and_resume(self, owner: Owner) -> None:
        adoption.adopt(owner.make("orders"), handler="log", name="theirs")
        before = owner.attributes("orders")

        sqs("set-concurrency", "theirs", 2)
        sqs("pause", "theirs")
        sqs("resume", "theirs")

        assert services.get("theirs").concurrency == 2
        assert owner.attributes("orders") == before
