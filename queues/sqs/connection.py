"""The connection to SQS: boto3's client, its credentials, and the meaning of its exceptions.

Credentials are left to boto3, so that each of its sources works and renews what expires: keys with or without
AWS_SESSION_TOKEN, a profile, a login, web identity, the roles of containers and instances. Only the embedded server
gets keys from us, and it never gets anybody's real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

from queues.sqs.refusals import bad_credentials, canonical, error_for
from queues.sqs.values import MAX_WAIT_SECONDS
from queuesite.addresses import embedded_keys
from queuesite.config import Config
from queuesite.errors import Conflict, ServerError, SqsDenied, SqsRejected, SqsUnavailable

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: Threads that one process uses towards SQS at the most, and so the connections that its client keeps.
MAX_CONNECTIONS = 64

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


def connect(config: Config, address: str) -> SQSClient:
    """Make a boto3 client in a session of its own, which reads boto3's files and the environment again."""
    keys = embedded_keys(config) if config.embedded_sqs else {}
    session = boto3.session.Session(region_name=config.aws_region, **keys)  # type: ignore[arg-type]
    return session.client(
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
            user_agent=f"Queuesite Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
        ),
    )


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
        return SqsUnavailable(f"SQS at {address} does not answer; is it running, and is AWS_SQS_ENDPOINT right?")
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
