"""`manage.py` as a real process: exit codes, one-line errors, what goes where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from queues import services
from queues.sqs import get_gateway
from queuesite.foundation.command_line import CommandLine
from queuesite.foundation.config import get_config
from tests.support.processes import LONGEST, ROOT, manage, manage_on_terminal, start
from tests.support.servers import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

Ended = subprocess.CompletedProcess[str]


def complaint(ended: Ended, code: int) -> str:
    """The one line on stderr of a command that failed with this exit code."""
    assert ended.returncode == code, ended
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_life_of_a_queue(queues: SQSClient) -> None:
    """What a person does in a day, each step a process of its own."""
    prefix = get_config().queue_name_prefix

    created = manage("sqs", "create", "orders", "--concurrency", "3", env={"LOG_LEVEL": "INFO"}, from_nothing=True)
    assert (created.returncode, created.stderr) == (0, "")
    assert f"{prefix}orders" in created.stdout

    sent = manage("sqs", "send", "orders", "--file", "-", stdin="zażółć\n日本\n🚚\n")
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "3 messages sent to 'orders'\n", "")

    received = get_gateway().receive(services.get("orders").queue_url, limit=10, wait=1)
    assert {message.body for message in received} <= {"zażółć", "日本", "🚚"}

    deleted = manage("sqs", "delete", "orders", "--yes")
    assert (deleted.returncode, deleted.stdout) == (0, "queue 'orders' deleted\n")
    assert services.list_queues() == []
    eventually(lambda: list(get_gateway().queue_urls(prefix)) == [], 60, "no queue is left in SQS")


def test_question_on_a_terminal(queues: SQSClient) -> None:
    services.create("orders")

    ended = manage_on_terminal("sqs", "delete", "orders", types="y\n")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Delete queue 'orders' with 0 messages and 0 dead letters? [y/N] ")
    assert ended.stdout.endswith("queue 'orders' deleted\n")
    assert services.list_queues() == []


def test_terminal_that_closes_is_no_consent(queues: SQSClient) -> None:
    services.create("orders")

    ended = manage_on_terminal("sqs", "delete", "orders", types="\x04")

    assert (ended.returncode, ended.stderr) == (2, "manage.py sqs delete: no answer; add --yes to confirm\n")
    assert [queue.name for queue in services.list_queues()] == ["orders"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["explode"], "unknown command 'explode'; manage.py help lists them"),
        (["sqz", "list"], "did you mean sqs?"),
        (["sqs"], "VERB; see manage.py sqs --help"),
        (["sqs", "explode"], "explode"),
        (["sqs", "create"], "NAME; see manage.py sqs create --help"),
        (["sqs", "create", "orders", "--colour", "red"], "--colour"),
        (["sqs", "create", "or ders"], "'or ders'"),
        (["sqs", "create", "orders", "--concurrency", "many"], "many"),
        (["sqs", "send", "nothing", "0"], "0 is out of range"),
        (["sqs", "send", "nothing", "1"], "'nothing'"),
        (["sqs", "send", "nothing", "--file", "/no/such/file"], "'/no/such/file'"),
    ],
)
def test_bad_input_ends_with_2(
    queues: SQSClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    words: str,
) -> None:
    """Through Django's command line, but in this process, since a process of its own takes a second."""
    monkeypatch.setattr("django.setup", lambda: None)  # has been, and would log to what is captured here for ever
    with pytest.raises(SystemExit) as ended:
        CommandLine(["manage.py", *args]).execute()

    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert words in err
    assert services.list_queues() == []


@pytest.mark.parametrize(
    ("args", "words"), [(["explode"], "unknown command 'explode'"), (["sqs", "create", "or ders"], "'or ders'")]
)
def test_exit_code_arrives(queues: SQSClient, args: list[str], words: str) -> None:
    assert words in complaint(manage(*args), 2)


def test_no_mongodb_at_the_address(queues: SQSClient) -> None:
    address = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=200"

    said = complaint(manage("sqs", "list", env={"MONGODB_URI": address}), 1)

    assert f"MongoDB at {address} does not answer" in said
    assert "MONGODB_URI" in said


def test_no_sqs_at_the_address(queues: SQSClient) -> None:
    address = f"http://127.0.0.1:{free_port()}"

    said = complaint(manage("sqs", "create", "orders", env={"AWS_SQS_ENDPOINT": address}), 1)

    assert f"SQS at {address} does not answer" in said
    assert services.list_queues() == []


def test_no_servers_at_all(tmp_path: Path) -> None:
    nothing = {"MONGODB_URI": "", "AWS_SQS_ENDPOINT": "", "DATA_DIR": str(tmp_path)}

    said = complaint(manage("sqs", "list", env=nothing), 1)

    assert "no MongoDB: MONGODB_URI is not set" in said
    assert "make up" in said


def test_all_problems_of_the_configuration_at_once() -> None:
    wrong = {"MAX_LOAD": "none", "LOG_FORMAT": "xml", "DEFAULT_CONCURRENCY": "9", "AWS_SECRET_ACCESS_KEY": ""}

    ended = manage("sqs", "list", env=wrong, from_nothing=True)

    assert ended.returncode == 2
    assert ended.stdout == ""
    first, *problems = ended.stderr.splitlines()
    assert first == "manage.py: the configuration has problems:"
    assert [problem.split("=")[0].split()[1] for problem in problems] == [
        "MAX_LOAD",
        "LOG_FORMAT",
        "DEFAULT_CONCURRENCY",
        "AWS_SECRET_ACCESS_KEY",
    ]


@pytest.mark.parametrize("command", ["check", "runworker", "showconfig"])
def test_driver_that_is_missing_is_named(tmp_path: Path, command: str) -> None:
    for name in ("psycopg", "psycopg2"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no module {name}')\n")
    given = {"DATABASE_URL": "postgres://me:hidden@db.example/queuesite", "PYTHONPATH": str(tmp_path)}

    ended = manage(command, env=given)

    assert (ended.returncode, ended.stdout) == (2, "")
    [_, problem] = ended.stderr.splitlines()
    assert problem == (
        "  - DATABASE_URL=postgres://me:********@db.example/queuesite: "
        "psycopg is missing or does not load: pip install -r requirements-postgres.txt"
    )


def test_broken_handler_module_is_named(tmp_path: Path, queues: SQSClient) -> None:
    (tmp_path / "broken_handlers_of_this_test.py").write_text("import no_such_module_anywhere\n")

    said = complaint(
        manage("sqs", "handlers", env={"HANDLER_MODULES": "broken_handlers_of_this_test", "PYTHONPATH": str(tmp_path)}),
        2,
    )

    assert "broken_handlers_of_this_test" in said
    assert "no_such_module_anywhere" in said


def test_worker_does_not_start_with_middleware_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "middleware_of_this_test.py").write_text("def timed(get_response):\n    return None\n")

    said = complaint(
        manage("runworker", env={"HANDLER_MIDDLEWARE": "middleware_of_this_test.timed", "PYTHONPATH": str(tmp_path)}),
        2,
    )

    assert "HANDLER_MIDDLEWARE: middleware_of_this_test.timed: it returned None" in said


def test_handlers_of_a_module_of_ones_own(tmp_path: Path) -> None:
    # A name that nobody gives a module beside manage.py, which would be found first.
    (tmp_path / "handlers_of_this_test.py").write_text(
        "from queues.handlers import handler\n\n"
        "@handler('orders')\nasync def take(message):\n    '''Takes an order.\n\n    And more.\n    '''\n"
    )

    ended = manage(
        "sqs", "handlers", "--json", env={"HANDLER_MODULES": "handlers_of_this_test", "PYTHONPATH": str(tmp_path)}
    )

    [found] = [handler for handler in json.loads(ended.stdout) if handler["name"] == "orders"]
    assert found == {
        "name": "orders",
        "versions": [],
        "timeout": None,
        "path": "handlers_of_this_test.take",
        "kind": "async",
        "batch": None,
        "retry": [],
        "breaker": None,
        "summary": "Takes an order.",
        "importable": True,
        "options": None,
    }


def test_json_is_alone_on_stdout_whatever_is_logged(queues: SQSClient) -> None:
    services.create("orders")

    ended = manage("sqs", "sync", "--json", env={"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json"})

    assert json.loads(ended.stdout)["unchanged"] == 1
    events: list[dict[str, Any]] = [json.loads(line) for line in ended.stderr.splitlines()]
    assert "queues_synced" in [event["event"] for event in events]


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (("sqs", "handlers", "--json"), {}),
        (("showconfig",), {}),
        (("showconfig",), {"PYTHONUNBUFFERED": "1"}),
        (("help",), {}),
    ],
)
def test_reader_that_leaves_is_no_error(args: tuple[str, ...], env: dict[str, str]) -> None:
    """Of our commands and Django's own. A pipeline that looks at the code finds that of SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        assert written_to(out, *args, env=env) == (141, "")


def written_to(out: IO[bytes], *args: str, env: dict[str, str]) -> tuple[int, str]:
    """The exit code of a command whose output goes there, and what it says on stderr."""
    with tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as nothing:
        process = start(*args, env=env, streams=(nothing.fileno(), out.fileno(), err.fileno()))
        code = process.wait(LONGEST)
        err.seek(0)
        return code, err.read().decode()


def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = written_to(full, "showconfig", env={})

    assert said == "manage.py: the output cannot be written: No space left on device\n"
    assert code == 1


def test_no_django() -> None:
    """A fresh clone, before `make install`."""
    ended = subprocess.run(
        [sys.executable, "-S", "-E", "manage.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )

    assert complaint(ended, 1).startswith("manage.py: Django is missing; run `make install`")


def test_production_settings_pass_djangos_own_checks(tmp_path: Path) -> None:
    ended = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        env={
            "DEBUG": "0",
            "SECRET_KEY": "a-key-of-more-than-fifty-characters-with-enough-of-them-0123456789",
            "ALLOWED_HOSTS": "example.com",
            "BEHIND_TLS_PROXY": "1",
            "DATA_DIR": str(tmp_path),
        },
    )

    assert ended.returncode == 0, ended.stderr


def test_migrations_are_complete(tmp_path: Path) -> None:
    """In a process of its own: all tables are emptied after a test that names a database without transactions."""
    ended = manage("makemigrations", "--check", "--dry-run", env={"DATA_DIR": str(tmp_path)})

    assert ended.returncode == 0, ended.stdout + ended.stderr
