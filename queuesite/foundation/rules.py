"""Rules of the configuration that span several settings."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from queuesite.foundation.private import make_private

if TYPE_CHECKING:
    from queuesite.foundation.config_model import Config


def is_loopback(host: str) -> bool:
    """Whether a host name or address, as browsers and sockets write it, can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        # RFC 6761 reserves .localhost for this machine.
        return name == "localhost" or name.endswith(".localhost")


#: https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


def is_aws(host: str) -> bool:
    """Whether a host is AWS's own, as the hosts of SQS's addresses and of its queues' URLs are."""
    return host.endswith(_AWS)


def _stalled(c: Config) -> str | None:
    if c.worker_stalled_after < 3 * c.heartbeat_seconds:
        return (
            f"WORKER_STALLED_AFTER={c.worker_stalled_after:g}: expected at least three heartbeats "
            f"({3 * c.heartbeat_seconds:g} s at HEARTBEAT_SECONDS={c.heartbeat_seconds:g}); otherwise one late "
            "heartbeat makes a live worker count as dead"
        )
    return None


def _consumer(c: Config) -> str | None:
    if c.consumer_stalled_after < 3 * c.heartbeat_seconds:
        return (
            f"CONSUMER_STALLED_AFTER={c.consumer_stalled_after:g}: expected at least three heartbeats "
            f"({3 * c.heartbeat_seconds:g} s at HEARTBEAT_SECONDS={c.heartbeat_seconds:g}); otherwise busy "
            "consumers are killed"
        )
    return None


def _grace(c: Config) -> str | None:
    if c.shutdown_grace_seconds <= c.idle_seconds:
        return (
            f"SHUTDOWN_GRACE_SECONDS={c.shutdown_grace_seconds:g}: expected more than IDLE_SECONDS={c.idle_seconds}, "
            "since a receive under way may wait that long"
        )
    return None


def _concurrency(c: Config) -> str | None:
    if c.default_concurrency > c.max_concurrency:
        return (
            f"DEFAULT_CONCURRENCY={c.default_concurrency}: expected at most MAX_CONCURRENCY={c.max_concurrency}; "
            "lower the one or raise the other"
        )
    return None


def _credentials(c: Config) -> str | None:
    if (c.aws_access_key_id is None) != (c.aws_secret_access_key is None):
        missing = "AWS_SECRET_ACCESS_KEY" if c.aws_secret_access_key is None else "AWS_ACCESS_KEY_ID"
        return f"{missing} is missing: set both keys, or neither to use boto3's default credential chain"
    return None


def _secret_key(c: Config) -> str | None:
    if c.secret_key is not None or c.debug or c.database_url is None:
        return None
    if c.database_url.get_secret_value().startswith("sqlite:"):
        return None
    return (
        "SECRET_KEY is missing: machines that share DATABASE_URL must share it, or a login on one fails on the others; "
        "generate one with python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )


def _debug(c: Config) -> str | None:
    if not c.debug:
        return None
    open_to = [f"WEB_HOST={c.web_host}"] if not is_loopback(c.web_host) else []
    open_to += [f"ALLOWED_HOSTS={','.join(c.allowed_hosts)}"] if not all(map(is_loopback, c.allowed_hosts)) else []
    open_to += ["BEHIND_TLS_PROXY=1"] if c.behind_tls_proxy else []
    if not open_to:
        return None
    return (
        f"DEBUG=1: its error pages expose internals, and {' and '.join(open_to)} lets other machines connect; "
        "set DEBUG=0, or serve only 127.0.0.1 and localhost"
    )


def _data_dir(c: Config) -> str | None:
    if c.secret_key is not None and c.database_url is not None:
        return None  # nothing is written there
    try:
        make_private(c.data_dir)
    except OSError as error:
        return f"DATA_DIR={c.data_dir}: cannot be created ({error.strerror}); name a writable directory"
    if not os.access(c.data_dir, os.W_OK | os.X_OK):
        return f"DATA_DIR={c.data_dir}: is not writable; change its permissions or name another directory"
    return None


#: The settings that a rule reads, and the rule: a function that returns a problem or None.
RULES: tuple[tuple[frozenset[str], Callable[[Config], str | None]], ...] = (
    (frozenset({"worker_stalled_after", "heartbeat_seconds"}), _stalled),
    (frozenset({"consumer_stalled_after", "heartbeat_seconds"}), _consumer),
    (frozenset({"shutdown_grace_seconds", "idle_seconds"}), _grace),
    (frozenset({"default_concurrency", "max_concurrency"}), _concurrency),
    (frozenset({"aws_access_key_id", "aws_secret_access_key"}), _credentials),
    (frozenset({"secret_key", "debug", "database_url"}), _secret_key),
    (frozenset({"debug", "web_host", "allowed_hosts", "behind_tls_proxy"}), _debug),
    (frozenset({"data_dir", "secret_key", "database_url"}), _data_dir),
)
