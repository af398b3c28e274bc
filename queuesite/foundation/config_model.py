"""The settings: each with its type, default, bounds and description.

`config` loads them. The README's table is made from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import dj_database_url
from pydantic import BeforeValidator, Field, SecretStr, field_validator

from queuesite.foundation import address_checks
from queuesite.foundation.address_checks import ENCODED, check_driver, reason
from queuesite.foundation.config_source import FromEnvironment
from queuesite.foundation.home import CLONE, CODE, home
from queuesite.foundation.masking import Address
from queuesite.foundation.sqs_limits import MAX_RETENTION_SECONDS

#: AWS_SQS_ENDPOINT's word for AWS itself.
AWS = "aws"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Config(FromEnvironment):
    """Every setting, with its default and its limits. The environment variable is the field's name in capitals."""

    # Servers
    mongodb_uri: Address | None = Field(None, description="MongoDB's address; empty: the embedded server")
    mongodb_name: str = Field("queuesite", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="MongoDB's database")
    database_url: Address | None = Field(None, description="Django's own tables; empty: SQLite in DATA_DIR")
    aws_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="AWS region of the queues")
    aws_access_key_id: SecretStr | None = Field(
        None, description="AWS access key; empty: boto3's default credential chain"
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, description="AWS secret key; empty: boto3's default credential chain"
    )
    aws_session_token: SecretStr | None = Field(
        None, description="session token of temporary keys (those that begin with ASIA)"
    )
    sqs_price_per_million: float = Field(
        0.40, ge=0, le=1_000, description="price of a million requests to SQS in USD, for estimates of costs"
    )
    aws_sqs_endpoint: Address | None = Field(
        None, description="SQS's address, or aws for AWS itself; empty: the embedded server"
    )
    sqs_transport: Literal["express", "boto3"] = Field(
        "express",
        description="what carries hot requests: express, or boto3 (slower, but has plugins and event hooks)",
    )
    queue_name_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,40}$", description="prefix of every queue's name in SQS"
    )
    data_dir: Path = Field(
        Path(".data"), description="directory of the embedded servers' data, SQLite and generated secrets"
    )
    servers_venv: Path = Field(Path(".venv-servers"), description="virtualenv of the embedded servers")
    startup_wait_seconds: Seconds = Field(
        60, description="how long masters and workers wait for MongoDB and SQS at start"
    )

    # Capacity
    max_load: int = Field(5, ge=1, le=1_000, description="capacity of a worker: consumers that it runs at once")
    max_load_limit: int | None = Field(
        None, ge=1, le=1_000, description="highest capacity that a running worker can be given; empty: twice MAX_LOAD"
    )
    worker_pool: str = Field(
        "default", pattern=r"^[A-Za-z0-9_-]{1,50}$", description="pool of a worker; queues may name one"
    )
    worker_instances: int = Field(1, ge=1, le=100, description="number of workers that `up` starts")
    consumer_usage_limit: int = Field(
        5, ge=1, description="number of assignments after which a consumer process is replaced"
    )
    consumer_memory_mb: int = Field(
        512, ge=64, description="a consumer whose memory grows by more than this many MiB is replaced"
    )
    default_concurrency: int = Field(5, ge=1, description="concurrency of a queue that is created without one")
    max_concurrency: int = Field(5, ge=1, le=1_000, description="highest concurrency that a queue may have")

    # Processing
    handler_modules: CommaSeparated = Field(
        (), description="modules with handlers, in addition to handlers.py of the home and of apps"
    )
    task_modules: CommaSeparated = Field(
        (), description="modules with django.tasks, in addition to tasks.py of the home and of apps"
    )
    task_backends: CommaSeparated = Field(
        ("default",),
        description="aliases in your projects' TASKS, so that workers can import what is declared for them",
    )
    task_result_days: int = Field(5, ge=1, le=3_650, description="how long the result of a django.tasks task is kept")
    app_version: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._+:/@-]{1,100}$",
        description="version of your handlers' code; empty: a hash of each handler's module",
    )
    handler_middleware: CommaSeparated = Field(
        (), description="middleware around each attempt, the outermost first: dotted paths of factories"
    )
    idle_seconds: int = Field(2, ge=1, le=20, description="a queue that stays empty this long counts as drained")
    job_max_seconds: Seconds = Field(900, description="interval at which a long run's counts are written")
    time_slice_seconds: Seconds = Field(
        30, description="a consumer that has run longer may be asked to yield to a waiting queue"
    )
    sweep_max_seconds: Seconds = Field(30, description="longest interval between checks of an idle queue")
    listen_queues: int = Field(
        200, ge=0, le=5_000, description="idle queues that a worker's listener holds long polls on; 0: none"
    )
    backlog_per_consumer: int = Field(200, ge=1, description="visible messages that justify one more consumer")
    delete_linger_ms: int = Field(200, ge=0, le=5_000, description="how long a delete waits for its batch to fill")
    shutdown_grace_seconds: Seconds = Field(25, description="how long handlers in flight may take to finish")
    job_retention_days: int = Field(5, ge=1, le=3_650, description="how long a job's record is kept")
    sample_one_in: int = Field(
        100, ge=0, le=1_000_000, description="one in this many successful attempts is recorded (100: 1 %); 0: none"
    )
    attempt_retention_days: int = Field(5, ge=1, le=365, description="how long the record of an attempt is kept")
    attempts_max: int = Field(
        100_000, ge=1_000, le=100_000_000, description="most records of attempts; those of the busiest queues go first"
    )
    event_retention_days: int = Field(14, ge=1, le=3_650, description="how long events are kept")
    http_allow_internal: bool = Field(
        False, description="let the http handler call any address, cloud metadata included"
    )
    http_allowed: CommaSeparated = Field((), description="internal hosts and networks that the http handler may call")

    # Liveness
    heartbeat_seconds: Seconds = Field(2, description="interval between a worker's heartbeats")
    worker_stalled_after: Seconds = Field(8, description="age of its last heartbeat at which a worker counts as dead")
    consumer_stalled_after: Seconds = Field(60, description="a working consumer that is silent for longer is killed")
    lease_seconds: Seconds = Field(5, description="lifetime of the leader's lease, which is renewed every third of it")

    # Health: from which value on a queue counts as ill. All processes need the same values.
    health_window_minutes: int = Field(
        15, ge=3, le=60, description="the last minutes whose attempts say whether a queue is failing"
    )
    health_failing_percent: int = Field(
        10, ge=1, le=100, description="share of failed attempts, in percent, at which a queue counts as failing"
    )
    health_crash_runs: int = Field(2, ge=1, le=100, description="failed runs in a row that make a crash loop")
    health_stuck_minutes: int = Field(
        10, ge=1, le=1_440, description="a queue that has messages and ends no attempt for this long is stuck"
    )
    health_starved_seconds: int = Field(
        60, ge=1, le=86_400, description="a queue that waits longer for a worker with a free place is starved"
    )
    health_dead_letter_minutes: int = Field(
        60, ge=10, le=1_440, description="how long dead letters count as growing after their number rose"
    )

    health_max_message_age_seconds: int | None = Field(
        None, ge=0, le=MAX_RETENTION_SECONDS, description="highest age of a queue's oldest message; empty: any"
    )
    health_max_backlog: int | None = Field(
        None, ge=0, le=1_000_000_000, description="visible messages that a queue may hold; empty: any number"
    )
    health_max_dead_letters: int | None = Field(
        None, ge=0, le=1_000_000_000, description="dead letters that a queue may have; empty: any number"
    )

    # Alerts
    alert_urls: SecretStr | None = Field(
        None,
        description="addresses that notices of problems are sent to, as apprise takes them, separated by commas",
    )
    alert_on: Literal["urgent", "all", "none"] = Field(
        "urgent", description="which problems cause a notice: urgent (the red ones), all or none"
    )
    alert_after_seconds: int = Field(
        60, ge=0, le=86_400, description="how long a problem must last before a notice is sent"
    )

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is logged")
    log_format: Literal["console", "json"] = Field("console", description="format of the log: console or json")

    # Web
    debug: bool = Field(False, description="show details of errors in the browser; on this machine only")
    secret_key: SecretStr | None = Field(
        None, min_length=32, description="empty: generated into DATA_DIR; required if machines share DATABASE_URL"
    )
    allowed_hosts: CommaSeparated = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="host names that the site answers to"
    )
    csrf_trusted_origins: CommaSeparated = Field((), description="origins (https://…) that may post forms")
    behind_tls_proxy: bool = Field(False, description="trust X-Forwarded-Proto, redirect to https, set secure cookies")
    hsts_seconds: int = Field(
        31_536_000, ge=0, description="how long browsers insist on https behind a TLS proxy; 0: no HSTS"
    )
    session_hours: int = Field(12, ge=1, le=8_760, description="hours after which a login to the admin expires")
    invitation_hours: int = Field(
        72, ge=1, le=720, description="hours for which the link of an invitation works, until it is used"
    )
    mail_url: Address | None = Field(
        None,
        description="mail server for invitations: smtps://user:password@host (TLS), smtp+tls://… (STARTTLS) or smtp://host",
    )
    mail_from: str = Field("queuesite@localhost", pattern=r"^[^\s@]+@[^\s@]+$", description="sender of these mails")
    trusted_proxies: CommaSeparated = Field(
        ("127.0.0.1", "::1"),
        description="addresses and networks whose X-Forwarded-For and -Proto are trusted if BEHIND_TLS_PROXY=1",
    )
    web_max_connections: int = Field(500, ge=10, le=100_000, description="open connections; further ones get 503")
    web_host: str = Field("127.0.0.1", description="address that the web server listens on")
    web_port: int = Field(8000, ge=1, le=65_535, description="port that the web server listens on")

    # API
    token_days: int = Field(
        90, ge=1, le=3_650, description="days after which a token expires, unless another expiry is chosen"
    )
    api_requests_per_minute: int = Field(
        600, ge=0, description="requests that a web process accepts from one token (or user); 0: no limit"
    )
    api_max_body_mb: int = Field(4, ge=2, le=64, description="largest request that the API reads, in MiB")
    api_max_bulk: int = Field(1_000_000, ge=1, le=100_000_000, description="most messages in one bulk send")
    api_open: CommaSeparated = Field((), description="endpoints that need no token: ready, metrics or both")
    sqs_patience_seconds: Seconds = Field(
        3, description="how long a page, or a request to the API that only asks SQS, waits for it before it says so"
    )
    ready_timeout_seconds: Seconds = Field(3, description="a server that takes longer to answer counts as not ready")

    @field_validator("log_level", "log_format", "sqs_transport", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: Any) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    @field_validator("data_dir", "servers_venv")
    @classmethod
    def _absolute(cls, value: Path, info: Any) -> Path:
        # `make` installs a clone's servers once, for homes elsewhere too.
        shared = CLONE and info.field_name == "servers_venv"
        return (CODE if shared else home()) / value  # an absolute path stays

    @field_validator("mongodb_uri")
    @classmethod
    def _mongodb_address(cls, value: Address | None) -> Address | None:
        if value is None:
            return None
        address_checks.check_mongodb_address(value.get_secret_value())
        return value

    @field_validator("mail_url")
    @classmethod
    def _mail_address(cls, value: Address | None) -> Address | None:
        if value is not None:
            address_checks.check_mail_address(value.get_secret_value())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxy_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        address_checks.check_networks(value)
        return value

    @field_validator("api_open")
    @classmethod
    def _open_operations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= {"ready", "metrics"}:
            raise ValueError("expected ready, metrics, both (separated by a comma) or nothing")
        return value

    @field_validator("http_allowed")
    @classmethod
    def _hosts_and_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        address_checks.check_hosts(value)
        return value

    @field_validator("aws_sqs_endpoint")
    @classmethod
    def _sqs_address(cls, value: Address | None) -> Address | None:
        if value is None:
            return None
        text = value.get_secret_value()
        if text.lower() == AWS:
            return Address(AWS)
        try:
            parts = urlsplit(text)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # unbalanced brackets of IPv6, or a port that is not a port number
            usable = False
        if not usable:
            raise ValueError("expected aws, or an address like http://127.0.0.1:4566")
        return Address(text.rstrip("/"))

    @field_validator("database_url")
    @classmethod
    def _database_address(cls, value: Address | None) -> Address | None:
        if value is not None:
            text = value.get_secret_value()
            try:
                engine = dj_database_url.parse(text)["ENGINE"]
            except (ValueError, KeyError) as error:
                raise ValueError(
                    f"expected an address like postgres://user:password@host/name, with {ENCODED}{reason(text, error)}"
                ) from None
            check_driver(engine)
        return value

    @property
    def embedded_mongodb(self) -> bool:
        """Whether MongoDB is the embedded server."""
        return self.mongodb_uri is None

    @property
    def embedded_sqs(self) -> bool:
        """Whether SQS is the embedded server."""
        return self.aws_sqs_endpoint is None

    @property
    def on_aws(self) -> bool:
        """Whether SQS is AWS itself, where queues are billed and shared."""
        return self.aws_sqs_endpoint == Address(AWS)

    @property
    def request_bytes(self) -> int:
        """Largest request that is read at all: API_MAX_BODY_MB plus 64 KiB for a form's fields beside its file."""
        return (self.api_max_body_mb << 20) + (64 << 10)

    @property
    def job_retention_seconds(self) -> int:
        """How long a job's record is kept, and a kind of failure after its last occurrence."""
        return self.job_retention_days * 86_400

    @property
    def sweep_min_seconds(self) -> float:
        """Interval of the sweep for a queue that just had messages: 1 s, or less if SWEEP_MAX_SECONDS is."""
        return min(1.0, self.sweep_max_seconds)
