"""What the express lane needs of boto3: the resolved endpoint, and credentials of any source of its chain.

`prepare` is for the process that forks consumers; they need nothing of boto3 until keys expire or are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from queues.sqs.connection import USER_AGENT, Boto3, frozen, our_errors, session_of
from queues.sqs.express.connections import tls_context
from queues.sqs.express.endpoint import Credentials, Prepared, Source
from queues.sqs.express.signing import Keys
from queuesite.foundation.addresses import embedded_keys, no_sqs, sqs_address
from queuesite.foundation.config import Config, mask
from queuesite.foundation.errors import ServerError


def prepare(config: Config, boto3: Boto3 | None = None) -> Prepared:
    """Find SQS's address and the keys to it. Makes no request to SQS.

    `boto3` is this process's client, if it is kept; else one is made for this, and thrown away. Raises `SqsUnavailable`
    if no address is known, and `SqsDenied` if boto3 cannot make sense of its files. Keys that cannot be had now are no
    error: the first request looks again.
    """
    address = sqs_address(config)
    if address is None:
        raise no_sqs()
    if config.embedded_sqs:
        keys, _ = _embedded(config)()
        return Prepared(address, config.aws_region, mask("aws_sqs_endpoint", address), "Queuesite", keys)
    boto3 = boto3 or Boto3(config, address)
    found = boto3.find()
    prepared = Prepared(
        found.url,
        found.region,
        boto3.address,
        USER_AGENT,
        proxy=found.proxy,
        ca_bundle=found.ca_bundle,
    )
    try:
        keys, expires_at = _source(found.credentials, boto3.address)()
    except ServerError:
        return prepared
    return replace(prepared, keys=keys, expires_at=expires_at)


def preload(config: Config) -> None:
    """Load what each process that is forked from this one would load by itself. Leaves nothing open.

    Raises what `prepare` does.
    """
    address = sqs_address(config)
    if address is None:
        raise no_sqs()
    if config.embedded_sqs and config.sqs_transport == "express":
        return
    # Making a client fills botocore's caches of its service's description, for those who need another.
    found = Boto3(config, address).find()
    if config.sqs_transport == "express" and found.url.startswith("https:"):
        with suppress(OSError):  # the first request names what is wrong with the file
            tls_context(found.ca_bundle)


def credentials_of(config: Config, prepared: Prepared) -> Credentials:
    """The credentials of this process, which begin with those that were prepared."""
    return Credentials(prepared, finder(config, prepared.address))


def finder(config: Config, address: str) -> Callable[[], Source]:
    """What looks for credentials; `address` is SQS's, as it may be shown."""

    def find() -> Source:
        if config.embedded_sqs:
            return _embedded(config)
        with our_errors(address):
            return _source(session_of(config).get_credentials(), address)

    return find


def _embedded(config: Config) -> Source:
    def source() -> tuple[Keys, float | None]:
        key = embedded_keys(config)
        return Keys(key["aws_access_key_id"], key["aws_secret_access_key"]), None

    return source


def _source(credentials: Any, address: str) -> Source:
    def source() -> tuple[Keys, float | None]:
        with our_errors(address):
            access_key, secret_key, token, expires_at = frozen(credentials)
        return Keys(access_key, secret_key, token), expires_at

    return source
