"""The connection to SQS: boto3's client, its credentials, and the meaning of its exceptions.

Credentials are left to boto3, so that each of its sources works and renews what expires: keys with or without
AWS_SESSION_TOKEN, a profile, a login, web identity, the roles of containers and instances. Only the embedded server
gets keys from us, and it never gets anybody's real ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidConfigError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from queues.sqs.refusals import bad_credentials, canonical, error_for, no_answer
from queues.sqs.values import MAX_WAIT_SECONDS
from queuesite.foundation.addresses import embedded_keys
from queuesite.foundation.config import Config
from queuesite.foundation.errors import Conflict, ServerError, SqsDenied, SqsRejected

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: Threads that one process uses towards SQS at the most, and so the connections that its client keeps.
MAX_CONNECTIONS = 64
USER_AGENT = f"Queuesite Boto3/{boto3.__version__} Botocore/{botocore.__version__}"

_NO_CREDENTIALS = (
    ConfigParseError,
    CredentialRetrievalError,
    InvalidConfigError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
#: Requests that boto3 makes by itself to get credentials, of STS, IAM Identity Center and Sign-In.
_OF_CREDENTIALS = frozenset(
    {"AssumeRole", "AssumeRoleWithWebIdentity", "CreateOAuth2Token", "CreateToken", "GetRoleCredentials"}
)


@dataclass(frozen=True)
class Found:
    """What boto3 makes of the configuration, the environment and its files: where SQS is, and how to reach it."""

    url: str
    region: str
    proxy: str | None
    ca_bundle: str | None
    #: botocore's credentials, or None.
    credentials: Any


def session_of(config: Config) -> boto3.session.Session:
    """A session of its own, which reads boto3's files and the environment again."""
    keys = embedded_keys(config) if config.embedded_sqs else {}
    return boto3.session.Session(region_name=config.aws_region, **keys)  # type: ignore[arg-type]


def connect(config: Config, address: str, session: boto3.session.Session | None = None) -> SQSClient:
    """Make a boto3 client, in a session of its own unless one is given."""
    return (session or session_of(config)).client(
        "sqs",
        endpoint_url=None if address == "aws" else address,
        config=BotoConfig(
            connect_timeout=5,
            read_timeout=MAX_WAIT_SECONDS + 10,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=MAX_CONNECTIONS,
            tcp_keepalive=True,
            # What goes out is typed and checked by us; checking it again took a twentieth of each call.
            parameter_validation=False,
            # botocore else composes its own twice for each request, a tenth of a call's CPU.
            user_agent=USER_AGENT,
            # The embedded server is on this machine, which a proxy would take for its own.
            proxies={} if config.embedded_sqs else None,
        ),
    )


def look_up(config: Config, address: str) -> Found:
    """Have boto3 resolve everything; its client, which alone knows all of it, is thrown away. Raises boto3's errors."""
    session = session_of(config)
    client = connect(config, address, session)
    url = client.meta.endpoint_url
    scheme = urlsplit(url).scheme
    ca_bundle = None
    if scheme == "https":
        # In the order of botocore: AWS_CA_BUNDLE or the profile's `ca_bundle`, REQUESTS_CA_BUNDLE, its own.
        given = session._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        ca_bundle = given or get_cert_path(True)
    return Found(
        url,
        client.meta.region_name,
        get_environ_proxies(url).get(scheme),
        ca_bundle,
        session.get_credentials(),
    )


def frozen(credentials: Any) -> tuple[str, str, str | None, float | None]:
    """The keys of botocore's `credentials`, renewed if it is time: id, secret, token, and when they expire (epoch).

    Raises boto3's errors; `NoCredentialsError` if there are none.
    """
    if credentials is None:
        raise NoCredentialsError
    try:
        keys = credentials.get_frozen_credentials()
    except RuntimeError as error:  # of botocore's own: what it fetched had expired already
        raise CredentialRetrievalError(provider=credentials.method, error_msg=str(error)) from error
    # No public name; without it, renewal would be found out by a refusal.
    expires = getattr(credentials, "_expiry_time", None)
    return keys.access_key, keys.secret_key, keys.token, expires.timestamp() if expires is not None else None


def code_of(error: BaseException | None) -> str:
    """The canonical code of a boto3 error, or an empty string if no server answered with one."""
    return canonical(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def credentials_failed(error: ClientError | BotoCoreError) -> bool:
    """Whether other credentials might help, such as those that somebody has written to a file since."""
    return isinstance(error, _NO_CREDENTIALS) or bad_credentials(code_of(error))


def explained(error: ClientError | BotoCoreError, address: str, queue_url: str | None) -> ServerError | Conflict:
    """Our error for one of boto3's. `address` is SQS's address, as it may be shown."""
    if isinstance(error, ClientError):
        return _answered(error, address, queue_url)
    if isinstance(error, _NO_CREDENTIALS):
        return SqsDenied(
            f"no AWS credentials ({_one_line(error)}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (any, for an "
            "emulator), or what boto3's usual chain needs, such as AWS_PROFILE"
        )
    if isinstance(error, HTTPClientError | BotoConnectionError):
        return no_answer(address)
    return SqsRejected(f"SQS at {address}: {_one_line(error)}")


def _answered(error: ClientError, address: str, queue_url: str | None) -> ServerError | Conflict:
    text = error.response.get("Error", {}).get("Message", "").strip() or str(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if error.operation_name in _OF_CREDENTIALS and status < 500:
        return SqsDenied(
            f"AWS gave no credentials ({error.operation_name}, {code_of(error)}: {text}); check the role and its trust "
            "policy, or log in again (aws sso login)"
        )
    return error_for(code_of(error), text, status=status, queue_url=queue_url, address=address)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
