"""The configuration: limits, sources, problems."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from queuesite.foundation.config import BASE_DIR, Config, Loaded, get_config, get_sources, load, mask, secret_key
from queuesite.foundation.errors import ConfigError
from queuesite.foundation.masking import Address
from queuesite.foundation.private import kept_secret
from tests.support.environment import SETTINGS

KEY = "k" * 50


class Environment:
    """The environment of one test: no setting, no file, until the test gives some."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        os.environ["DATA_DIR"] = str(directory / "data")

    def set(self, **values: object) -> None:
        os.environ.update({name: str(value) for name, value in values.items()})

    def file(self, text: str, name: str = "settings.env") -> Path:
        path = self.directory / name
        path.write_text(text)
        os.environ["ENV_FILE"] = str(path)
        return path

    def load(self, **values: object) -> Loaded:
        self.set(**values)
        return load()

    def problems(self, **values: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(**values)
        assert caught.value.exit_code == 2
        for problem in caught.value.problems:
            assert "\n" not in problem
            assert f"  - {problem}" in str(caught.value).splitlines()
        return caught.value.problems


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    before = dict(os.environ)
    for name in SETTINGS:
        os.environ.pop(name, None)
    os.environ["ENV_FILE"] = ""
    yield Environment(tmp_path)
    os.environ.clear()
    os.environ.update(before)


class TestDefaults:
    def test_defaults_are_those_of_the_documentation(self, env: Environment) -> None:
        config = env.load().config

        assert config.mongodb_uri is None
        assert config.aws_sqs_endpoint is None
        assert config.embedded_mongodb
        assert config.embedded_sqs
        assert (config.max_load, config.consumer_usage_limit, config.worker_instances) == (5, 5, 1)
        assert (config.default_concurrency, config.max_concurrency) == (5, 5)
        assert (config.job_retention_days, config.job_max_seconds) == (5, 900)
        assert config.handler_modules == ()
        assert (config.log_level, config.log_format) == ("INFO", "console")

    def test_paths_are_beside_manage_py(self, env: Environment) -> None:
        del os.environ["DATA_DIR"]

        config = Config()

        assert config.data_dir == BASE_DIR / ".data"
        assert config.servers_venv == BASE_DIR / ".venv-servers"
        assert (BASE_DIR / "manage.py").is_file()

    def test_absolute_paths_stay(self, env: Environment) -> None:
        assert env.load(DATA_DIR=env.directory / "elsewhere").config.data_dir == env.directory / "elsewhere"

    def test_it_is_frozen(self, env: Environment) -> None:
        config = env.load().config

        with pytest.raises(Exception, match="frozen"):
            config.max_load = 7  # type: ignore[misc]

    def test_empty_means_default(self, env: Environment) -> None:
        loaded = env.load(MAX_LOAD="", MONGODB_URI="", LOG_LEVEL="")

        assert loaded.config.max_load == 5
        assert loaded.config.mongodb_uri is None
        assert loaded.sources["max_load"] == "default"

    def test_every_setting_says_what_it_is(self) -> None:
        assert [name for name, field in Config.model_fields.items() if not field.description] == []


#: Each limit: the last value on either side of it that is taken, and the first that is not.
LIMITS: list[tuple[str, list[Any], list[Any]]] = [
    ("MAX_LOAD", [1, 1_000], [0, 1_001, -1, "5.5", "many"]),
    ("MAX_LOAD_LIMIT", [1, 1_000], [0, 1_001, "many"]),
    ("WORKER_INSTANCES", [1, 100], [0, 101]),
    ("CONSUMER_USAGE_LIMIT", [1, 10**9], [0]),
    ("CONSUMER_MEMORY_MB", [64], [63]),
    ("DEFAULT_CONCURRENCY", [1], [0]),
    ("MAX_CONCURRENCY", [5, 1_000], [0, 1_001]),
    ("IDLE_SECONDS", [1, 20], [0, 21, "1.5"]),
    ("JOB_MAX_SECONDS", [0.001, 86_400], [0, 86_401, "nan", "inf", "soon"]),
    ("TIME_SLICE_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("SWEEP_MAX_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("SHUTDOWN_GRACE_SECONDS", [2.5, 86_400], [0, 86_401]),
    ("CONSUMER_STALLED_AFTER", [6, 86_400], [0, 86_401]),
    ("STARTUP_WAIT_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("LEASE_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("HEARTBEAT_SECONDS", [0.001], [0, -1]),
    ("EVENT_RETENTION_DAYS", [1, 3_650], [0, 3_651]),
    ("HEALTH_WINDOW_MINUTES", [3, 60], [2, 61]),
    ("HEALTH_FAILING_PERCENT", [1, 100], [0, 101]),
    ("HEALTH_CRASH_RUNS", [1, 100], [0, 101]),
    ("HEALTH_STUCK_MINUTES", [1, 1_440], [0, 1_441]),
    ("HEALTH_STARVED_SECONDS", [1, 86_400], [0, 86_401]),
    ("HEALTH_DEAD_LETTER_MINUTES", [10, 1_440], [9, 1_441]),
    ("HEALTH_MAX_MESSAGE_AGE_SECONDS", [0, 1_209_600], [-1, 1_209_601]),
    ("HEALTH_MAX_BACKLOG", [0, 10**9], [-1]),
    ("HEALTH_MAX_DEAD_LETTERS", [0, 10**9], [-1]),
    ("ALERT_ON", ["urgent", "all", "none"], ["red", "failing"]),
    ("ALERT_AFTER_SECONDS", [0, 86_400], [-1, 86_401]),
    ("WORKER_STALLED_AFTER", [86_400], [0, 86_401]),
    ("BACKLOG_PER_CONSUMER", [1], [0]),
    ("DELETE_LINGER_MS", [0, 5_000], [-1, 5_001]),
    ("JOB_RETENTION_DAYS", [1, 3_650], [0, 3_651]),
    ("TASK_RESULT_DAYS", [1, 3_650], [0, 3_651]),
    ("SAMPLE_ONE_IN", [0, 1_000_000], [-1, 1_000_001]),
    ("ATTEMPT_RETENTION_DAYS", [1, 365], [0, 366]),
    ("ATTEMPTS_MAX", [1_000, 100_000_000], [999, 100_000_001]),
    ("HSTS_SECONDS", [0, 63_072_000], [-1, "a year"]),
    ("SESSION_HOURS", [1, 8_760], [0, 8_761]),
    ("INVITATION_HOURS", [1, 720], [0, 721]),
    ("TOKEN_DAYS", [1, 3_650], [0, 3_651]),
    (
        "MAIL_URL",
        ["smtp://mail:25", "smtps://u:p%40@mail", "smtp+tls://u:p@mail:587", "smtp://u:p@127.0.0.1"],
        ["mail", "https://mail", "smtp://", "smtp://u:p@mail", "smtps://mail:0", "smtps://mail/x"],
    ),
    ("MAIL_FROM", ["queues@example.com"], ["queues", "a b@c", "@"]),
    ("TRUSTED_PROXIES", ["10.0.0.5", "10.0.0.0/24,::1"], ["proxy.example.com", "10.0.0.1/8"]),
    ("WEB_MAX_CONNECTIONS", [10, 100_000], [9, 100_001]),
    ("WEB_PORT", [1, 65_535], [0, 65_536]),
    ("API_REQUESTS_PER_MINUTE", [0, 1_000_000], [-1]),
    ("API_MAX_BODY_MB", [2, 64], [1, 65]),
    ("API_MAX_BULK", [1, 100_000_000], [0, 100_000_001]),
    ("API_OPEN", ["ready", "metrics", "ready, metrics"], ["live", "ready,docs"]),
    ("SQS_PATIENCE_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("READY_TIMEOUT_SECONDS", [0.001, 86_400], [0, 86_401]),
    ("MONGODB_NAME", ["a", "x" * 63, "a_b-C9"], ["x" * 64, "a.b", "a b", "a$", "ä"]),
    ("QUEUE_NAME_PREFIX", ["x" * 40, "a-b_C9"], ["x" * 41, "a.b", "a b", "ä"]),
    ("WORKER_POOL", ["default", "x" * 50, "gpu-2_B"], ["x" * 51, "a.b", "a b", "ä"]),
    ("APP_VERSION", ["2.1.0", "v2+g1a2b3", "x" * 100], ["x" * 101, "2 1", "ä"]),
    ("AWS_REGION", ["eu-west-1"], ["EU", "eu west"]),
    ("LOG_LEVEL", ["DEBUG", "info", "Warning", "ERROR"], ["LOUD", "TRACE"]),
    ("LOG_FORMAT", ["console", "JSON"], ["xml"]),
    ("SQS_TRANSPORT", ["express", "Boto3"], ["aws"]),
    ("LISTEN_QUEUES", ["0", "5000"], ["-1", "5001", "many"]),
    ("SQS_PRICE_PER_MILLION", ["0", "0.4", "1000"], ["-0.1", "1001", "nan", "free"]),
    ("DEBUG", ["1", "true", "yes"], ["maybe"]),
    ("HTTP_ALLOW_INTERNAL", ["0", "1"], ["some"]),
    (
        "HTTP_ALLOWED",
        ["hooks.internal", "127.0.0.1,::1", "10.0.0.0/8, fd00::/8", "my_host"],
        ["10.0.0.1/8", "10.0.0.256", "http://hooks.internal", "hooks.internal:80", "a b", "*", "10.0.0.0/33"],
    ),
    ("BEHIND_TLS_PROXY", ["0", "1"], ["some"]),
    ("SECRET_KEY", ["x" * 32], ["x" * 31]),
    (
        "MONGODB_URI",
        [
            "mongodb://host",
            "mongodb://a:1,b:2/?replicaSet=rs0",
            "mongodb://u:p%40@host/name",
            "mongodb+srv://cluster.example.com/",
        ],
        ["host:27017", "http://host", "mongodb://", "mongodb://host:port", "mongodb://host:99999", "mongodb://u:p@@h/"],
    ),
    (
        "AWS_SQS_ENDPOINT",
        ["aws", "AWS", "http://127.0.0.1:4566", "https://sqs.example.com/", "http://[::1]:4566"],
        ["127.0.0.1:4566", "ftp://host", "http://", "http://host:port", "http://host:99999", "http://[::1"],
    ),
    (
        "DATABASE_URL",
        ["sqlite:////tmp/x.sqlite3", "postgres://u:p@host:5432/name", "postgres://host/name?sslmode=require"],
        ["oracle-of-delphi://x", "no address", "postgres://host:port/name"],
    ),
]


class TestLimits:
    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, good, _ in LIMITS for value in good])
    def test_value_within_is_taken(self, env: Environment, name: str, value: object) -> None:
        others = {"SECRET_KEY": KEY} if name == "DATABASE_URL" else {}
        assert env.load(**{name: value, **others}).sources[name.lower()] == "environment"

    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, _, bad in LIMITS for value in bad])
    def test_value_beyond_is_refused_by_name(self, env: Environment, name: str, value: object) -> None:
        [problem] = env.problems(**{name: value})

        assert problem.startswith((f"{name}=", f"{name}: ", f"{name} "))

    def test_every_limited_setting_is_in_the_table(self) -> None:
        free = {
            *(
                "ALERT_URLS",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
                "DATA_DIR",
                "SERVERS_VENV",
                *("HANDLER_MODULES", "HANDLER_MIDDLEWARE", "TASK_MODULES", "TASK_BACKENDS"),
            ),
            *("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "WEB_HOST"),
        }

        assert {name for name, _, _ in LIMITS} | free == set(SETTINGS)

    def test_value_and_expectation_are_named(self, env: Environment) -> None:
        assert env.problems(MAX_LOAD=0) == ["MAX_LOAD=0: input should be greater than or equal to 1"]

    def test_lists_are_split_at_commas(self, env: Environment) -> None:
        config = env.load(
            HANDLER_MODULES=" shop.handlers, ,billing.handlers,", ALLOWED_HOSTS="a.example,b.example"
        ).config

        assert config.handler_modules == ("shop.handlers", "billing.handlers")
        assert config.allowed_hosts == ("a.example", "b.example")

    def test_trailing_slash_of_the_endpoint_is_dropped(self, env: Environment) -> None:
        assert env.load(AWS_SQS_ENDPOINT="http://host:1/").config.aws_sqs_endpoint == Address("http://host:1")

    def test_sweep_starts_at_a_second_or_less(self, env: Environment) -> None:
        assert env.load().config.sweep_min_seconds == 1.0
        assert env.load(SWEEP_MAX_SECONDS="0.2").config.sweep_min_seconds == 0.2


class TestRules:
    def test_worker_is_not_dead_after_one_late_heartbeat(self, env: Environment) -> None:
        env.load(HEARTBEAT_SECONDS=2, WORKER_STALLED_AFTER=6)

        [problem] = env.problems(HEARTBEAT_SECONDS=2, WORKER_STALLED_AFTER=5.9)
        assert problem.startswith("WORKER_STALLED_AFTER=5.9: expected at least three heartbeats (6 s")

    def test_default_concurrency_is_within_the_maximum(self, env: Environment) -> None:
        env.load(DEFAULT_CONCURRENCY=3, MAX_CONCURRENCY=3)

        [problem] = env.problems(DEFAULT_CONCURRENCY=4, MAX_CONCURRENCY=3)
        assert problem.startswith("DEFAULT_CONCURRENCY=4: expected at most MAX_CONCURRENCY=3")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")],
    )
    def test_keys_come_in_pairs(self, env: Environment, given: str, missing: str) -> None:
        [problem] = env.problems(**{given: "x"})

        assert problem.startswith(f"{missing} is missing")

    def test_machines_that_share_a_database_share_a_key(self, env: Environment) -> None:
        [problem] = env.problems(DATABASE_URL="postgres://host/name")

        assert problem.startswith("SECRET_KEY is missing: machines that share DATABASE_URL must share it")
        env.load(SECRET_KEY=KEY)

    @pytest.mark.parametrize("settings", [{}, {"DATABASE_URL": "sqlite:////tmp/x.sqlite3"}])
    def test_one_machine_makes_its_own_key(self, env: Environment, settings: dict[str, str]) -> None:
        config = env.load(**settings, WEB_HOST="0.0.0.0", ALLOWED_HOSTS="queues.example.com").config

        assert not config.debug
        assert config.secret_key is None

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"WEB_HOST": "0.0.0.0"}, "WEB_HOST=0.0.0.0"),
            ({"WEB_HOST": "::"}, "WEB_HOST=::"),
            ({"WEB_HOST": "192.168.1.4"}, "WEB_HOST=192.168.1.4"),
            ({"WEB_HOST": "queues.example.com"}, "WEB_HOST=queues.example.com"),
            ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS=*"),
            ({"ALLOWED_HOSTS": "localhost,queues.example.com"}, "ALLOWED_HOSTS=localhost,queues.example.com"),
            ({"ALLOWED_HOSTS": ".localhost.example"}, "ALLOWED_HOSTS=.localhost.example"),
            ({"BEHIND_TLS_PROXY": "1"}, "BEHIND_TLS_PROXY=1"),
            ({"WEB_HOST": "::", "ALLOWED_HOSTS": "*"}, "WEB_HOST=:: and ALLOWED_HOSTS=*"),
        ],
    )
    def test_error_pages_are_for_this_machine_only(
        self, env: Environment, settings: dict[str, str], named: str
    ) -> None:
        [problem] = env.problems(DEBUG=1, **settings)

        assert problem.startswith("DEBUG=1: its error pages")
        assert f"and {named} lets other machines connect; set DEBUG=0" in problem
        env.load(DEBUG=0)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "site.localhost"])
    def test_error_pages_on_this_machine(self, env: Environment, host: str) -> None:
        assert env.load(DEBUG=1, WEB_HOST=host, ALLOWED_HOSTS=f"LOCALHOST,[::1],.localhost,{host}").config.debug

    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_data_directory_must_be_one(self, env: Environment, place: str) -> None:
        (env.directory / "file").write_text("")

        [problem] = env.problems(DATA_DIR=env.directory / place)

        assert problem.startswith(f"DATA_DIR={env.directory / place}: cannot be created")

    def test_data_directory_is_not_needed_where_nothing_is_written(self, env: Environment) -> None:
        (env.directory / "file").write_text("")

        env.load(DATA_DIR=env.directory / "file", SECRET_KEY=KEY, DATABASE_URL="postgres://host/name")


class TestProblems:
    def test_all_of_them_are_in_one_error(self, env: Environment) -> None:
        env.file("MAX_LAOD=7\nLOG_FORMAT=xml\n")

        problems = env.problems(
            MAX_LOAD="none",
            AWS_SQS_ENDPOINT="nowhere",
            HEARTBEAT_SECONDS=5,
            DEFAULT_CONCURRENCY=9,
            AWS_ACCESS_KEY_ID="x",
            DATABASE_URL="postgres://host/name",
        )

        assert sorted(problem.split("=")[0].split(" ")[0] for problem in problems) == [
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SQS_ENDPOINT",
            "DEFAULT_CONCURRENCY",
            "LOG_FORMAT",
            "MAX_LAOD",
            "MAX_LOAD",
            "SECRET_KEY",
            "WORKER_STALLED_AFTER",
        ]

    def test_rule_about_a_wrong_value_is_not_added(self, env: Environment) -> None:
        assert len(env.problems(MAX_CONCURRENCY=0, DEFAULT_CONCURRENCY=9)) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SECRET_KEY", "hidden"),
            ("MONGODB_URI", "mongodb://me:hidden@host:port/"),
            ("MONGODB_URI", "mongodb://me:hidden@/"),
            ("MONGODB_URI", "mongodb://me:hid@hidden@host/"),
            ("MONGODB_URI", "http://me:hidden@host/"),
            ("MONGODB_URI", "me:hidden@host"),
            # The mistake is in the password, and the libraries quote what they cannot read.
            ("MONGODB_URI", "mongodb://me:hidden"),
            ("MONGODB_URI", "mongodb://me:x/hidden@host/"),
            ("MONGODB_URI", "mongodb://me:hidden%zz@host:port/"),
            ("MONGODB_URI", "mongodb://me@host:port/?proxyPassword=hidden"),
            ("MONGODB_URI", "mongodb://host/?authMechanism=MONGODB-AWS&authMechanismProperties=hidden"),
            ("DATABASE_URL", "postgres://me:x/hidden@host/name"),
            ("DATABASE_URL", "postgres://me:x[hidden@host/name"),
            ("DATABASE_URL", "postgres://me:hidden"),
            ("DATABASE_URL", "nothing://host/name?password=hidden"),
            ("AWS_SQS_ENDPOINT", "http://hidden@host:port"),
            ("AWS_SQS_ENDPOINT", "ftp://me:hidden@host"),
            ("AWS_SQS_ENDPOINT", "http://me:hidden@"),
            ("DATABASE_URL", "postgres://me:hidden@host:port/name"),
            ("DATABASE_URL", "nothing://me:hidden@host/name"),
        ],
    )
    def test_secrets_are_not_shown(self, env: Environment, name: str, value: str) -> None:
        [problem] = env.problems(**{name: value})

        assert name in problem
        assert "hidden" not in problem

    def test_the_reason_is_given_if_there_is_no_secret_in_it(self, env: Environment) -> None:
        assert "Port must be an integer" in env.problems(MONGODB_URI="mongodb://host:99999")[0]

    def test_the_configuration_shows_no_secret(self, env: Environment) -> None:
        config = env.load(
            SECRET_KEY=KEY,
            AWS_ACCESS_KEY_ID="hidden",
            AWS_SECRET_ACCESS_KEY="hidden",
            AWS_SQS_ENDPOINT="https://me:hidden@host",
            MONGODB_URI="mongodb://me:hidden@host/?tlsCertificateKeyFilePassword=hidden",
            DATABASE_URL="postgres://me:hidden@host/name?sslpassword=hidden",
        ).config

        for shown in (repr(config), str(config), f"{config.model_dump()}", config.model_dump_json()):
            assert "hidden" not in shown
            assert KEY not in shown
        assert "me:********@host" in repr(config)

    def test_error_is_shown_with_a_line_for_each(self) -> None:
        assert str(ConfigError(["a", "b"])) == "the configuration has problems:\n  - a\n  - b"


class TestSources:
    def test_environment_goes_before_the_file(self, env: Environment) -> None:
        path = env.file("MAX_LOAD=7\nWORKER_INSTANCES=3\n")

        loaded = env.load(MAX_LOAD=9)

        assert (loaded.config.max_load, loaded.sources["max_load"]) == (9, "environment")
        assert (loaded.config.worker_instances, loaded.sources["worker_instances"]) == (3, path.name)
        assert loaded.sources["log_level"] == "default"
        assert set(loaded.sources) == set(Config.model_fields)

    def test_empty_in_the_environment_overrides_the_file(self, env: Environment) -> None:
        """`MONGODB_URI= make up` runs on the embedded server, whatever the file says."""
        env.file("MONGODB_URI=mongodb://host/\n")

        loaded = env.load(MONGODB_URI="")

        assert (loaded.config.mongodb_uri, loaded.sources["mongodb_uri"]) == (None, "default")

    def test_boto3s_own_variables_may_be_in_the_file(self, env: Environment) -> None:
        env.file("AWS_PROFILE=team\nAWS_SESSION_TOKEN=token\n")

        env.load(AWS_PROFILE="other")

        assert os.environ["AWS_SESSION_TOKEN"] == "token"
        assert os.environ["AWS_PROFILE"] == "other"

    def test_token_of_the_file_goes_with_the_keys_of_the_file(self, env: Environment) -> None:
        env.file("AWS_ACCESS_KEY_ID=ASIAFILE\nAWS_SECRET_ACCESS_KEY=s\nAWS_SESSION_TOKEN=token\n")
        assert env.load().config.aws_session_token is not None
        assert os.environ["AWS_SESSION_TOKEN"] == "token"

        del os.environ["AWS_SESSION_TOKEN"]
        loaded = env.load(AWS_ACCESS_KEY_ID="AKIAOTHER", AWS_SECRET_ACCESS_KEY="s")

        assert loaded.config.aws_session_token is None
        assert loaded.sources["aws_session_token"] == "default"
        assert "AWS_SESSION_TOKEN" not in os.environ

    def test_file_has_comments_quotes_and_exports(self, env: Environment) -> None:
        env.file("# a comment\nexport MAX_LOAD=7  # seven\nQUEUE_NAME_PREFIX=\"dev-\"\n\nLOG_LEVEL='debug'\n")

        config = env.load().config

        assert (config.max_load, config.queue_name_prefix, config.log_level) == (7, "dev-", "DEBUG")

    @pytest.mark.parametrize(("wrong", "right"), [("MAX_LAOD", "MAX_LOAD"), ("MONGODB_URL", "MONGODB_URI")])
    def test_misspelt_name_in_the_file(self, env: Environment, wrong: str, right: str) -> None:
        path = env.file(f"{wrong}=7\n")

        assert env.problems() == [f"{wrong} in {path} is not a setting: did you mean {right}?"]

    def test_names_of_other_programs_may_be_in_the_file(self, env: Environment) -> None:
        env.file("POSTGRES_PASSWORD=x\nEDITOR=vi\n")

        env.load()

    def test_file_that_is_named_must_be_there(self, env: Environment) -> None:
        missing = env.directory / "missing.env"

        assert env.problems(ENV_FILE=missing) == [
            f"ENV_FILE={missing}: no such file; name a file that exists, or unset ENV_FILE"
        ]

    def test_file_that_is_no_text(self, env: Environment) -> None:
        path = env.file("")
        path.write_bytes(b"MAX_LOAD=7\n\xff\xfe")

        [problem] = env.problems()

        assert problem.startswith(f"ENV_FILE={path}: cannot be read as UTF-8 text")

    def test_file_of_the_home_is_optional(self, env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QUEUESITE_HOME", str(env.directory))
        del os.environ["ENV_FILE"]
        assert env.load().config.max_load == 5

        (env.directory / ".env").write_text("MAX_LOAD=7\n")
        loaded = env.load()

        assert (loaded.config.max_load, loaded.sources["max_load"]) == (7, ".env")

    def test_configuration_is_loaded_once(self) -> None:
        assert get_config() is get_config()
        assert get_sources()["mongodb_uri"] == "environment"


class TestMask:
    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            ("secret_key", KEY, "********"),
            ("aws_access_key_id", "AKIA", "********"),
            ("aws_secret_access_key", "x", "********"),
            ("secret_key", None, ""),
            ("mongodb_uri", "mongodb://me:secret@host/name", "mongodb://me:********@host/name"),
            ("mongodb_uri", "mongodb://me:se@cret@host/name", "mongodb://me:********@host/name"),
            ("mongodb_uri", "mongodb://me@host/", "mongodb://me@host/"),
            ("mongodb_uri", "mongodb://host/", "mongodb://host/"),
            ("mongodb_uri", "me:secret@host", "********@host"),
            (
                "mongodb_uri",
                Address("mongodb://me:secret@host/?proxyPassword=secret"),
                "mongodb://me:********@host/?proxyPassword=********",
            ),
            ("secret_key", SecretStr(KEY), "********"),
            ("database_url", "postgres://me:secret@host/name", "postgres://me:********@host/name"),
            ("aws_sqs_endpoint", "http://me:secret@host:1", "http://me:********@host:1"),
            ("allowed_hosts", ("a", "b"), "a,b"),
            ("debug", True, "1"),
            ("debug", False, "0"),
            ("job_max_seconds", 900.0, "900"),
            ("heartbeat_seconds", 0.25, "0.25"),
            ("max_load", 5, "5"),
            ("data_dir", Path("/x/y"), "/x/y"),
            ("log_level", "INFO", "INFO"),
        ],
    )
    def test_value_as_it_is_shown(self, name: str, value: object, shown: str) -> None:
        assert mask(name, value) == shown


class TestSecretKey:
    def test_configured_key_is_used_and_nothing_written(self, env: Environment) -> None:
        config = env.load(SECRET_KEY=KEY).config

        assert secret_key(config) == KEY
        assert not (config.data_dir / "secret_key").exists()

    def test_key_is_generated_once_and_kept_to_its_owner(self, env: Environment) -> None:
        config = env.load().config

        first = secret_key(config)

        assert len(first) >= 50
        assert secret_key(config) == first
        path = config.data_dir / "secret_key"
        assert path.read_text() == first
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [p.name for p in config.data_dir.iterdir()] == ["secret_key"]

    def test_two_directories_have_two_keys(self, tmp_path: Path) -> None:
        keys = {kept_secret(tmp_path / name / "key", lambda: os.urandom(8).hex()) for name in ("a", "b")}

        assert len(keys) == 2

    def test_threads_that_make_it_at_once_agree(self, tmp_path: Path) -> None:
        all_found_none = threading.Barrier(8)

        def make() -> str:
            all_found_none.wait(45)
            return os.urandom(16).hex()

        with ThreadPoolExecutor(8) as pool:
            kept = set(pool.map(lambda _: kept_secret(tmp_path / "key", make), range(8)))

        assert kept == {(tmp_path / "key").read_text()}
        assert [p.name for p in tmp_path.iterdir()] == ["key"]

    def test_processes_that_make_it_at_once_agree(self, tmp_path: Path) -> None:
        script = (
            "import os, sys; from pathlib import Path; from queuesite.foundation.private import kept_secret;"
            "sys.stdout.write('ready'); sys.stdout.flush(); sys.stdin.read(1);"
            "print(kept_secret(Path(sys.argv[1]), lambda: os.urandom(16).hex()))"
        )
        started = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(tmp_path / "key")],
                cwd=BASE_DIR,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.read(5) == "ready"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        keys = {process.communicate(timeout=30)[0] for process in started}

        assert len(keys) == 1
        assert keys.pop().strip() == (tmp_path / "key").read_text()
