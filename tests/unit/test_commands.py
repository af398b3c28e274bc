"""What our management commands share."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import ServerSelectionTimeoutError

from queuesite.foundation.clock import rfc3339
from queuesite.foundation.command_line import CommandLine, execute, own_commands
from queuesite.foundation.commands import Parser, QueuesiteCommand, integer
from queuesite.foundation.errors import Conflict, MongoUnavailable, QueuesiteError, SqsUnavailable


class Probe(QueuesiteCommand):
    """A command that does what its test says."""

    def __init__(self, action: Any = None) -> None:
        super().__init__()
        self.action = action

    def run(self, **options: Any) -> None:
        self.action(self)


def output(action: Any) -> str:
    out = io.StringIO()
    call_command(Probe(action), stdout=out)
    return out.getvalue()


def raising(error: BaseException) -> Any:
    def action(_: Probe) -> None:
        raise error

    return action


def test_the_list_of_commands_begins_with_ours() -> None:
    text = CommandLine(["queuesite"]).main_help_text()

    lines = text.splitlines()
    assert lines[0] == "usage: queuesite COMMAND …"
    names = [line.split()[0] for line in lines if re.match(r"  \S", line)]
    assert names == sorted({*own_commands(), "qcluster"})
    assert "migrate" in text.partition("Commands of Django and its packages:")[2]


class TestErrors:
    def test_mongodb_that_a_command_of_django_lacks_is_a_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def away(_: CommandLine) -> None:
            raise ServerSelectionTimeoutError("no servers")

        monkeypatch.setattr(CommandLine, "execute", away)

        assert execute(["queuesite", "makemigrations"]) == 1
        assert re.fullmatch(r"queuesite: MongoDB at \S+ does not answer; [^\n]*\n", capsys.readouterr().err)
        with pytest.raises(MongoUnavailable):
            execute(["queuesite", "makemigrations", "--traceback"])

    @pytest.mark.parametrize(
        ("error", "code", "text"),
        [
            (Conflict("taken"), 2, "taken"),
            (SqsUnavailable("away"), 1, "away"),
            (QueuesiteError("wrong"), 2, "wrong"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
    )
    def test_error_becomes_a_line_and_an_exit_code(self, error: BaseException, code: int, text: str) -> None:
        with pytest.raises(CommandError) as caught:
            output(raising(error))

        assert (caught.value.returncode, str(caught.value)) == (code, text)

    @pytest.mark.parametrize(("error", "code"), [(Conflict("taken"), 2), (SqsUnavailable("away"), 1)])
    def test_on_the_command_line_the_command_and_the_error_are_all_that_is_written(
        self, error: QueuesiteError, code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = Probe(raising(error))
        with pytest.raises(SystemExit) as caught:
            command.run_from_argv(["/usr/bin/queuesite", "probe"])

        assert (caught.value.code, capsys.readouterr().err) == (code, f"queuesite probe: {error}\n")
        with pytest.raises(CommandError):
            Probe(raising(error)).run_from_argv(["/usr/bin/queuesite", "probe", "--traceback"])

    def test_mistake_of_ours_keeps_its_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError):
            output(raising(ZeroDivisionError()))

    def test_command_must_do_something(self) -> None:
        with pytest.raises(NotImplementedError):
            call_command(QueuesiteCommand())


class TestOutput:
    def test_json_with_dates_ids_and_any_character(self) -> None:
        identifier = ObjectId()
        value = {"at": datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC), "id": identifier, "text": "zażółć 🚚"}

        printed = output(lambda command: command.print_json(value))

        assert "zażółć 🚚" in printed
        assert json.loads(printed) == {
            "at": "2026-01-02T03:04:05.678Z",
            "id": str(identifier),
            "text": "zażółć 🚚",
        }

    def test_json_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(TypeError, match="set cannot be written as JSON"):
            output(lambda command: command.print_json({1, 2}))

    def test_table_aligns_numbers_and_leaves_nothing_out(self) -> None:
        rows = [("orders", 7, None), ("żółć" * 60, 1_234, "x")]

        lines = output(lambda command: command.print_table(("name", "count", "note"), rows, numeric=["count"]))

        assert "None" not in lines
        assert lines.splitlines()[1].split() == ["orders", "7"]
        assert lines.count("ż") == 60  # folded, not cut
        assert lines.index("   7") > 0

    @pytest.mark.parametrize("text", ["[bold]x[/bold]", "http://[::1]:4566/0/orders", ":truck:"])
    def test_nothing_is_taken_for_markup(self, text: str) -> None:
        assert text in output(lambda command: command.print_table(("a",), [(text,)]))

    def test_sentence(self) -> None:
        assert output(lambda command: command.say("done")) == "done\n"

    @given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)))
    def test_rfc3339_is_read_back_to_the_millisecond(self, moment: datetime) -> None:
        text = rfc3339(moment)

        assert text.endswith("Z")
        assert datetime.fromisoformat(text) == moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


class TestConfirm:
    def ask(self, monkeypatch: pytest.MonkeyPatch, answer: str | None, *, yes: bool = False) -> bool:
        def given(_: str) -> str:
            if answer is None:
                raise EOFError
            return answer

        monkeypatch.setattr("builtins.input", given)
        monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
        return Probe().confirm("Sure?", assume_yes=yes)

    @pytest.mark.parametrize(
        ("answer", "agreed"), [("y", True), (" Yes ", True), ("YES", True), ("n", False), ("", False), ("yep", False)]
    )
    def test_answer(self, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool) -> None:
        assert self.ask(monkeypatch, answer) is agreed

    def test_yes_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.ask(monkeypatch, None, yes=True)

    def test_closed_terminal_is_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(CommandError, match="--yes") as caught:
            self.ask(monkeypatch, None)

        assert caught.value.returncode == 2

    def test_no_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

        with pytest.raises(
            CommandError, match=r"Sure\? Cannot ask, since stdin is not a terminal; add --yes"
        ) as caught:
            Probe().confirm("Sure?", assume_yes=False)

        assert caught.value.returncode == 2


class TestParsing:
    @pytest.mark.parametrize(("text", "value"), [("1", 1), ("10", 10), (" 7 ", 7)])
    def test_whole_number(self, text: str, value: int) -> None:
        assert integer(1, 10)(text) == value

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("0", "0 is out of range; expected a whole number from 1 to 10"),
            ("11", "11 is out of range"),
            ("1.5", "'1.5' is not a number; expected a whole number from 1 to 10"),
            ("", "'' is not a number"),
        ],
    )
    def test_other_texts(self, text: str, words: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            integer(1, 10)(text)

        assert words in str(caught.value)

    def test_no_upper_limit(self) -> None:
        assert integer(1)("99999999999") == 99_999_999_999
        with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
            integer(1)("0")

    def test_error_of_a_parser_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        parser = Parser(prog="manage.py sqs send")
        parser.add_argument("count", type=integer(1))

        with pytest.raises(SystemExit) as caught:
            parser.parse_args(["0"])

        assert caught.value.code == 2
        assert capsys.readouterr().err == (
            "manage.py sqs send: argument count: 0 is out of range; expected a whole number of at least 1; "
            "see manage.py sqs send --help\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("lsit", "1", "1"), "argument VERB: invalid choice: 'lsit' (did you mean 'list'?)"),
            (("zzz", "1", "1"), "argument VERB: invalid choice: 'zzz'"),
            (("list", "no", "1"), "argument count: 'no' is not a whole number"),
            (("list", "1", "many"), "argument --share: 'many' is not a number"),
        ],
    )
    def test_a_mistake_is_named_without_a_long_list(
        self, arguments: tuple[str, str, str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        parser = Parser(prog="sqs")
        parser.add_argument("verb", metavar="VERB", choices=["list", *(f"verb-{number}" for number in range(9))])
        parser.add_argument("count", type=int)
        parser.add_argument("--share", type=float)
        verb, count, share = arguments

        with pytest.raises(SystemExit):
            parser.parse_args([verb, count, "--share", share])

        assert capsys.readouterr().err == f"sqs: {words}; see sqs --help\n"


def test_output_is_djangos_own_so_that_call_command_can_catch_it() -> None:
    assert isinstance(Probe().stdout, OutputWrapper)
