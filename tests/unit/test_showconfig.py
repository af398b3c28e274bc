"""`manage.py showconfig`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuesite.addresses import Running, write_record
from queuesite.config import Config, get_config, get_sources
from queuesite.management.commands.showconfig import Setting, effective_settings
from tests.conftest import Configure
from tests.support.processes import ROOT, manage

EMBEDDED = {"MONGODB_URI": "", "AWS_SQS_ENDPOINT": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


def settings() -> dict[str, Setting]:
    return {setting.name: setting for setting in effective_settings(get_config(), dict(get_sources()))}


def shown_as_json(**environment: str) -> dict[str, Any]:
    done = manage("showconfig", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_setting_is_there_with_a_description() -> None:
    shown = settings()
    assert list(shown) == [name.upper() for name in Config.model_fields]
    assert all(setting.description for setting in shown.values())


def test_sources_tell_the_environment_from_defaults(configure: Configure) -> None:
    configure(max_load=7, max_concurrency=None)
    assert (settings()["MAX_LOAD"].value, settings()["MAX_LOAD"].source) == (7, "environment")
    assert (settings()["MAX_CONCURRENCY"].value, settings()["MAX_CONCURRENCY"].source) == (5, "default")


def test_the_files_name_is_the_source_of_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "production.env"
    file.write_text("MAX_LOAD=9\n")
    shown = shown_as_json(ENV_FILE=str(file))["settings"]["MAX_LOAD"]
    assert (shown["value"], shown["source"]) == (9, "production.env")


def test_secrets_are_masked(configure: Configure) -> None:
    configure(
        secret_key="s" * 50,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="very-secret",
        aws_session_token="a-token",
        mongodb_uri="mongodb://user:pass-word@db.example/?replicaSet=rs0",
        database_url="postgres://user:pass-word@db.example/site?sslpassword=pass-word",
        aws_sqs_endpoint="https://pass-word@sqs.example",
    )
    shown = settings()
    text = " ".join(f"{setting.value} {setting.text}" for setting in shown.values())
    assert not [secret for secret in ("ssss", "AKID", "very-secret", "a-token", "pass-word") if secret in text]
    assert shown["MONGODB_URI"].value == "mongodb://user:********@db.example/?replicaSet=rs0"
    assert shown["SECRET_KEY"].source == "environment"


def test_what_is_not_set_but_has_an_effect(configure: Configure, tmp_path: Path) -> None:
    configure(secret_key=None, database_url=None, data_dir=tmp_path)
    shown = settings()
    assert (shown["SECRET_KEY"].value, shown["SECRET_KEY"].source) == ("********", "generated")
    assert shown["DATABASE_URL"].value == f"sqlite:///{tmp_path}/queuesite.sqlite3"


def test_embedded_servers_that_run_are_named(configure: Configure, tmp_path: Path) -> None:
    config = configure(mongodb_uri=None, aws_sqs_endpoint=None, data_dir=tmp_path)
    me = Running("mongodb://127.0.0.1:1/", os.getpid(), psutil.Process().create_time())
    write_record(config, {"mongodb": me})
    shown = settings()
    assert (shown["MONGODB_URI"].value, shown["MONGODB_URI"].source) == ("mongodb://127.0.0.1:1/", "embedded")
    assert (shown["AWS_SQS_ENDPOINT"].value, shown["AWS_SQS_ENDPOINT"].source) == ("not running", "embedded")
    answer = shown_as_json(**EMBEDDED, DATA_DIR=str(tmp_path))
    assert answer["embeddedServers"] == {"mongodb": "mongodb://127.0.0.1:1/", "sqs": None}
    table = manage("showconfig", env={**EMBEDDED, "DATA_DIR": str(tmp_path)}).stdout
    assert "MongoDB  mongodb://127.0.0.1:1/  (database test_" in table


def test_where_the_key_of_the_embedded_sqs_is(tmp_path: Path, configure: Configure) -> None:
    config = configure(mongodb_uri=None, aws_sqs_endpoint=None, data_dir=tmp_path)
    write_record(config, {"sqs": Running("http://127.0.0.1:1", os.getpid(), psutil.Process().create_time())})
    table = manage("showconfig", env={**EMBEDDED, "DATA_DIR": str(tmp_path)}).stdout
    assert f"access key and secret key are the text of {tmp_path}/sqs/access-key" in table


def test_the_table_says_how_to_start_servers(tmp_path: Path) -> None:
    done = manage("showconfig", env={**EMBEDDED, "DATA_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "embedded servers: not running; start the embedded servers with `make up`" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ALLOWED_HOSTS")]
    assert line.split()[1] == "localhost,127.0.0.1,[::1]"


def test_configured_servers_are_not_embedded() -> None:
    answer = shown_as_json(MONGODB_URI="mongodb://db.example/", AWS_SQS_ENDPOINT="aws")
    assert answer["embeddedServers"] == {}
    assert answer["settings"]["AWS_SQS_ENDPOINT"]["value"] == "aws"


def test_json_keeps_the_types() -> None:
    shown = shown_as_json(BEHIND_TLS_PROXY="1", ALLOWED_HOSTS="a.example, b.example", LEASE_SECONDS="4.5")["settings"]
    assert shown["BEHIND_TLS_PROXY"]["value"] is True
    assert shown["ALLOWED_HOSTS"]["value"] == ["a.example", "b.example"]
    assert shown["LEASE_SECONDS"]["value"] == 4.5


@pytest.mark.parametrize("option", ["--josn", "extra"])
def test_a_wrong_option_is_refused(option: str) -> None:
    done = manage("showconfig", option)
    assert done.returncode == 2
    assert option in done.stderr


def test_the_example_file_is_a_valid_configuration(configure: Configure, tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    uncommented = [line[1:] for line in lines if line[:1] == "#" and line[1:2].isalpha()]
    names = {line.split("=", 1)[0].lower() for line in uncommented}
    assert names <= set(Config.model_fields)
    file = tmp_path / "example.env"
    file.write_text("\n".join([*uncommented, f"SECRET_KEY={'x' * 50}", f"DATA_DIR={tmp_path}"]))
    configure(**dict.fromkeys(names), env_file=file)
    shown = settings()
    assert (shown["ALLOWED_HOSTS"].text, shown["ALLOWED_HOSTS"].source) == ("queues.example.com", "example.env")
    assert shown["QUEUE_NAME_PREFIX"].value == "staging-"
