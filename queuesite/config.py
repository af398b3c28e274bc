"""The configuration: one frozen value, built once from the environment and `.env`, validated whole at start.

`get_config()` is the only way to it. A problem never hides another: all of them are in one `ConfigError`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from queuesite import private
from queuesite.errors import ConfigError
from queuesite.masking import MASK, Address, mask_address
from queuesite.rules import RULES

BASE_DIR = Path(__file__).resolve().parent.parent
#: AWS_SQS_ENDPOINT's word for AWS itself.
AWS = "aws"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


_ENCODED = "/?#[]@:% in user and password percent-encoded"


def _reason(address: str, error: Exception) -> str:
    # What a library says of an address that it cannot read quotes parts of it, which may be parts of the password.
    return f" ({error})" if mask_address(address) == address else ""


class Config(BaseSettings):
    """Every setting, with its default and its limits. The environment's name is the field's in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True)

    # Servers
    mongodb_uri: Address | None = Field(None, description="MongoDB's address; empty: the embedded server")
    mongodb_name: str = Field("queuesite", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="MongoDB's database")
    database_url: Address | None = Field(None, description="Django's own tables; empty: SQLite in DATA_DIR")
    aws_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="region of SQS")
    aws_access_key_id: SecretStr | None = Field(None, description="empty: boto3's usual chain")
    aws_secret_access_key: SecretStr | None = Field(None, description="empty: boto3's usual chain")
    aws_session_token: SecretStr | None = Field(None, description="of temporary keys, which begin with ASIA")
    aws_sqs_endpoint: Address | None = Field(None, description="SQS's address, or aws; empty: the embedded server")
    queue_name_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,40}$", description="put before every queue's name in SQS"
    )
    data_dir: Path = Field(Path(".data"), description="embedded servers' data, SQLite, generated secrets")
    servers_venv: Path = Field(Path(".venv-servers"), description="virtualenv of the embedded servers")
    startup_wait_seconds: Seconds = Field(60, description="how long masters and workers wait for their servers")

    # Capacity
    max_load: int = Field(5, ge=1, le=1_000, description="consumers (assignments) per worker")
    worker_instances: int = Field(1, ge=1, le=100, description="workers that `up` starts")
    consumer_usage_limit: int = Field(5, ge=1, description="assignments that a consumer process serves")
    consumer_memory_mb: int = Field(512, ge=64, description="a consumer that has grown by more is replaced")
    default_concurrency: int = Field(5, ge=1, description="concurrency of a queue created without one")
    max_concurrency: int = Field(5, ge=1, le=1_000, description="highest concurrency that a queue may have")

    # Processing
    handler_modules: CommaSeparated = Field((), description="modules with handlers, beside the apps' handlers.py")
    idle_seconds: int = Field(2, ge=1, le=20, description="empty for this long, a queue counts as drained")
    job_max_seconds: Seconds = Field(900, description="interval at which a long run's counts are written")
    time_slice_seconds: Seconds = Field(30, description="a slot held longer may be taken for a waiting queue")
    sweep_max_seconds: Seconds = Field(30, description="longest interval between looks at an idle queue")
    backlog_per_consumer: int = Field(200, ge=1, description="waiting messages that justify one consumer more")
    delete_linger_ms: int = Field(200, ge=0, le=5_000, description="how long a delete waits for its batch to fill")
    shutdown_grace_seconds: Seconds = Field(25, description="time that handlers in flight get to finish")
    job_retention_days: int = Field(5, ge=1, le=3_650, description="how long a job's record is kept")
    http_allow_internal: bool = Field(False, description="let the http handler call any address, metadata included")
    http_allowed: CommaSeparated = Field((), description="internal hosts and networks that the http handler may call")

    # Liveness
    heartbeat_seconds: Seconds = Field(2, description="interval of a worker's heartbeat")
    worker_stalled_after: Seconds = Field(8, description="age of a heartbeat at which a worker counts as dead")
    consumer_stalled_after: Seconds = Field(60, description="a consumer at work that is silent for longer is killed")
    lease_seconds: Seconds = Field(5, description="life of the leader's lease; renewed at a third of it")

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level shown")
    log_format: Literal["console", "json"] = Field("console", description="console or json")

    # Web
    debug: bool = Field(False, description="show the details of errors in the browser; on this machine only")
    secret_key: SecretStr | None = Field(
        None, min_length=32, description="empty: generated into DATA_DIR; required if machines share DATABASE_URL"
    )
    allowed_hosts: CommaSeparated = Field(("localhost", "127.0.0.1", "[::1]"), description="names the site answers to")
    csrf_trusted_origins: CommaSeparated = Field((), description="origins (https://…) that may post forms")
    behind_tls_proxy: bool = Field(False, description="trust X-Forwarded-Proto, redirect to https, secure cookies")
    hsts_seconds: int = Field(
        31_536_000, ge=0, description="how long browsers insist on https behind a TLS proxy; 0: they do not"
    )
    session_hours: int = Field(12, ge=1, le=8_760, description="a login to the admin ends after this")
    trusted_proxies: CommaSeparated = Field(
        ("127.0.0.1", "::1"),
        description="addresses and networks whose X-Forwarded-For and -Proto are believed, if BEHIND_TLS_PROXY=1",
    )
    web_max_connections: int = Field(500, ge=10, le=100_000, description="connections taken at once; more get 503")
    web_host: str = Field("127.0.0.1", description="address that the web server of `up` binds")
    web_port: int = Field(8000, ge=1, le=65_535, description="port of the web server of `up`")

    # API
    api_requests_per_minute: int = Field(
        600, ge=0, description="requests of one token (or user) that a web process takes; 0: any number"
    )
    api_max_body_mb: int = Field(4, ge=2, le=64, description="largest request that the API reads, in MiB")
    api_max_bulk: int = Field(1_000_000, ge=1, le=100_000_000, description="messages of one bulk send")
    api_open: CommaSeparated = Field((), description="what needs no token: ready, metrics or both")
    ready_timeout_seconds: Seconds = Field(3, description="a server that takes longer counts as not ready")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: Any) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    @field_validator("data_dir", "servers_venv")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if value.is_absolute() else BASE_DIR / value

    @field_validator("mongodb_uri")
    @classmethod
    def _mongodb_address(cls, value: Address | None) -> Address | None:
        if value is None:
            return None
        text = value.get_secret_value()
        if not text.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("expected an address like mongodb://host:27017/?replicaSet=rs0")
        if text.startswith("mongodb://"):  # the other form is looked up in DNS, which a check must not wait for
            try:
                parse_uri(text)
            except (PyMongoError, ValueError) as error:
                raise ValueError(
                    "not a MongoDB address; expected one like mongodb://user:password@host:27017/?replicaSet=rs0, "
                    f"with {_ENCODED}{_reason(text, error)}"
                ) from None
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxy_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ipaddress.ip_network(one)
            except ValueError:
                raise ValueError(
                    f"{one!r} is no address and no network; expected some like 10.0.0.5 or 10.0.0.0/24, with commas"
                ) from None
        return value

    @field_validator("api_open")
    @classmethod
    def _open_operations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= {"ready", "metrics"}:
            raise ValueError("expected ready, metrics, both with a comma between them, or nothing")
        return value

    @field_validator("http_allowed")
    @classmethod
    def _hosts_and_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                ipaddress.ip_network(entry)
            except ValueError as error:
                if re.fullmatch(r"[\d.:/]*|.*[:/].*", entry):
                    raise ValueError(f"{error}; expected hosts and networks like 127.0.0.1,10.1.0.0/16") from None
                if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", entry):
                    raise ValueError(f"{entry!r} is no host; expected ones like hooks.internal,10.1.0.0/16") from None
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
        except ValueError:  # brackets of IPv6 that do not match, a port that is no number of a port
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
                    "expected an address like postgres://user:password@host/name, "
                    f"with {_ENCODED}{_reason(text, error)}"
                ) from None
            _check_driver(engine)
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
        """Largest request that is read at all: API_MAX_BODY_MB, and what a form has beside the file that it uploads."""
        return (self.api_max_body_mb << 20) + (64 << 10)

    @property
    def job_retention_seconds(self) -> int:
        """Life of a job's record, and of a kind of failure since it last came up."""
        return self.job_retention_days * 86_400

    @property
    def sweep_min_seconds(self) -> float:
        """Interval of the sweep for a queue that was just seen with messages: 1 s, or less where the maximum is."""
        return min(1.0, self.sweep_max_seconds)


def _check_driver(engine: str) -> None:
    """Raise `ValueError` if Django's database engine lacks its driver: Django itself would end with a traceback."""
    try:
        importlib.import_module(f"{engine}.base")
    except (ImportError, ImproperlyConfigured) as error:
        if "postgresql" in engine or "postgis" in engine:
            raise ValueError("psycopg is missing or does not load: pip install -r requirements-postgres.txt") from None
        raise ValueError(f"its driver cannot be loaded: {' '.join(str(error).split())}") from None


def _of_type(wanted: type) -> frozenset[str]:
    return frozenset(name for name, field in Config.model_fields.items() if wanted in get_args(field.annotation))


#: Names of settings whose values are never shown.
SECRETS = _of_type(SecretStr)
#: Names of settings that are shown without their passwords.
ADDRESSES = _of_type(Address)


@dataclass(frozen=True)
class Loaded:
    """A valid configuration, and where each of its values came from (`environment`, a file's name, `default`)."""

    config: Config
    sources: Mapping[str, str]


def _problem_of(error: Mapping[str, Any]) -> tuple[str, str]:
    field = str(error["loc"][0])
    name = field.upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if field in SECRETS:
        return field, f"{name}: {message}"
    value = mask(field, str(error["input"]))
    return field, f"{name}={value}: {message}"


def mask(name: str, value: object) -> str:
    """The setting `name` as it may be shown: secrets as asterisks, addresses without their passwords."""
    if value is None:
        return ""
    if name in SECRETS:
        return MASK
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    # An `Address` has masked itself, which a second time changes nothing.
    return mask_address(text) if name in ADDRESSES else text


def load() -> Loaded:
    """Build the configuration from the environment and the file that `ENV_FILE` names.

    Without ENV_FILE that is `.env` beside manage.py, where it exists; an empty ENV_FILE means none.

    What the file has and the environment lacks is added to it, so that boto3's own variables
    (`AWS_PROFILE`, `AWS_SESSION_TOKEN`) may stand in it too. Raises `ConfigError` with every problem found.
    """
    environ = os.environ
    problems: list[str] = []
    env_file = environ.get("ENV_FILE", str(BASE_DIR / ".env"))
    from_file: dict[str, str] = {}
    if env_file:
        path = Path(env_file)
        if "ENV_FILE" in environ and not path.is_file():
            problems.append(f"ENV_FILE={env_file}: no such file; name one that exists, or leave it out")
        try:
            from_file = {k: v for k, v in dotenv_values(path).items() if v is not None}
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"ENV_FILE={env_file}: cannot be read as UTF-8 text ({error})")
    known = {name.upper() for name in Config.model_fields}
    problems += [
        f"{name} in {env_file} is not a setting: did you mean {close[0]}?"
        for name in sorted(set(from_file) - known)
        if (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85))
    ]
    key = from_file.get("AWS_ACCESS_KEY_ID")
    if key and environ.get("AWS_ACCESS_KEY_ID", key) != key:
        from_file.pop("AWS_SESSION_TOKEN", None)  # it belongs to the file's own keys, which the environment overrides
    origin = {}
    for name in known:
        if environ.get(name):
            origin[name.lower()] = "environment"
        elif name not in environ and from_file.get(name):  # set empty in the environment: the default, not the file
            origin[name.lower()] = Path(env_file).name
    for name, value in from_file.items():
        environ.setdefault(name, value)

    bad: set[str] = set()
    try:
        config = Config()
    except ValidationError as error:
        for item in error.errors():
            field, problem = _problem_of(item)
            bad.add(field)
            problems.append(problem)
        # What is wrong in itself gives way to its default, so that the rules about the rest are still checked.
        config = Config(**{name: Config.model_fields[name].default for name in bad})
    for names, rule in RULES:
        if not names & bad and (found := rule(config)):
            problems.append(found)
    if problems:
        raise ConfigError(problems)
    return Loaded(config, {name: origin.get(name, "default") for name in Config.model_fields})


@functools.cache
def _loaded() -> Loaded:
    return load()


def get_config() -> Config:
    """The configuration of this process. Raises `ConfigError` at the first call where it is wrong."""
    return _loaded().config


def get_sources() -> Mapping[str, str]:
    """Where each setting's value came from."""
    return _loaded().sources


def secret_key(config: Config) -> str:
    """SECRET_KEY, or a generated key that is kept in DATA_DIR (mode 0600)."""
    if config.secret_key is not None:
        return config.secret_key.get_secret_value()
    return private.kept_secret(config.data_dir / private.SECRET_KEY, lambda: secrets.token_urlsafe(50))
