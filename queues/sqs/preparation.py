"""What the express lane needs of boto3: the resolved endpoint, and credentials of any source of its chain.

`prepare` is for the process that forks consumers; they need nothing of boto3 until keys expire or are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from queues.sqs.express.endpoint import Credentials, Prepared, Source
from queues.sqs.express.signing import Keys
from queuesite.foundation.addresses import embedded_keys, no_sqs, sqs_address
from queuesite.foundation.config import Config, mask
from queuesite.foundation.errors import ServerError


def prepare(config: Config) -> Prepared:
    """Find out where SQS is and by which keys. Opens no connection to SQS.

    Raises `SqsUnavailable` if no address is known, and `SqsDenied` if boto3 cannot make sense of its files. Keys that
    cannot be had now are no error: the first request looks again.
    """
    address = sqs_address(config)
    if address is None:
        raise no_sqs()
    shown = mask("aws_sqs_endpoint", address)
    if config.embedded_sqs:  # without boto3, which takes 0.1 s of CPU to import and 0.1 s to look
        return Prepared(address, config.aws_region, shown, "Queuesite", _embedded(config)()[0])
    from botocore.exceptions import BotoCoreError, ClientError

    from queues.sqs import connection

    try:
        found = connection.look_up(config, address)
    except (BotoCoreError, ClientError) as error:
        raise connection.explained(error, shown, None) from error
    keys: Keys | None = None
    expires_at: float | None = None
    with suppress(ServerError):
        keys, expires_at = _source(found.credentials, shown)()
    return Prepared(
        url=found.url,
        region=found.region,
        address=shown,
        user_agent=connection.USER_AGENT,
        keys=keys,
        expires_at=expires_at,
        proxy=found.proxy,
        ca_bundle=found.ca_bundle,
    )


def credentials_of(config: Config, prepared: Prepared) -> Credentials:
    """The credentials of this process, which begin with those that were prepared."""
    return Credentials(prepared, finder(config, prepared.address))


def finder(config: Config, address: str) -> Callable[[], Source]:
    """What looks for credentials; `address` is SQS's, as it may be shown."""

    def find() -> Source:
        if config.embedded_sqs:
            return _embedded(config)
        from botocore.exceptions import BotoCoreError, ClientError

        from queues.sqs import connection

        try:
            return _source(connection.session_of(config).get_credentials(), address)
        except (BotoCoreError, ClientError) as error:
            raise connection.explained(error, address, None) from error

    return find


def _embedded(config: Config) -> Source:
    def source() -> tuple[Keys, float | None]:
        key = embedded_keys(config)
        return Keys(key["aws_access_key_id"], key["aws_secret_access_key"]), None

    return source


def _source(credentials: Any, address: str) -> Source:
    from botocore.exceptions import BotoCoreError, ClientError

    from queues.sqs import connection

    def source() -> tuple[Keys, float | None]:
        try:
            access_key, secret_key, token, expires_at = connection.frozen(credentials)
        except (BotoCoreError, ClientError) as error:
            raise connection.explained(error, address, None) from error
        return Keys(access_key, secret_key, token), expires_at

    return source
