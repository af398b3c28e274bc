"""boto3's client, its credentials, and the meaning of its exceptions.

Credentials are left to boto3, so that each of its sources works and renews what expires: keys with or without
AWS_SESSION_TOKEN, a profile, a login, web identity, the roles of containers and instances. Only the embedded server
gets keys from us, and it never gets anybody's real ones.
"""

from __future__ import annotations

import difflib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    ProxyConnectionError,
    RefreshWithMFAUnsupportedError,
    SSLError,
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
from queuesite.foundation.config import Config, mask
from queuesite.foundation.errors import Conflict, InvalidInput, ServerError, SqsDenied, SqsRejected
from queuesite.foundation.rules import is_aws

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

#: Threads that one process uses towards SQS at the most, and so the connections that its client keeps.
MAX_CONNECTIONS = 64
#: Shortest time between two searches for other credentials after some were refused; one takes 0.2 s of CPU.
LOOK_AGAIN_SECONDS = 5.0
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


@contextmanager
def our_errors(address: str, queue_url: str | None = None) -> Iterator[None]:
    """Make our errors of boto3's. `address` is SQS's address, as it may be shown."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explained(error, address, queue_url) from error


class Boto3:
    """boto3's client of this process, which is made when it is first asked for. Safe for threads."""

    def __init__(self, config: Config, address: str) -> None:
        self._config, self._endpoint = config, address
        #: SQS's address as it may be shown.
        self.address = mask("aws_sqs_endpoint", address)
        #: Requests made so far (boto3's own repetitions not counted): what AWS bills.
        self.requests = 0
        self._client: SQSClient | None = None
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._look_again_at = 0.0

    @property
    def client(self) -> SQSClient:
        """The client. Raises boto3's errors."""
        client = self._client
        if client is None:
            with self._making:
                client = self._client = self._client or connect(self._config, self._endpoint)
        return client

    @contextmanager
    def errors(self, queue_url: str | None) -> Iterator[None]:
        """Count a request, and make our errors of boto3's."""
        with self._lock:
            self.requests += 1
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            if credentials_failed(error):
                self._look_for_credentials_again()
            raise explained(error, self.address, queue_url) from error

    def find(self) -> Found:
        """What boto3 makes of configuration, environment and files. Its client is made for that. Raises our errors."""
        with our_errors(self.address):
            session = session_of(self._config)
            if self._client is None:
                self._client = connect(self._config, self._endpoint, session)
            return _found(session, self._client)

    def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            self._client.close()

    def _look_for_credentials_again(self) -> None:
        """Replace the client by one that has read boto3's files again.

        boto3 renews credentials that it fetched itself, but never those that it read from a file; renewed keys would be
        noticed only at a restart.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._look_again_at:
                return
            self._look_again_at = now + LOOK_AGAIN_SECONDS
        with suppress(BotoCoreError):  # the file is being written; the old client tries again later
            self._client = connect(self._config, self._endpoint)


def _found(session: boto3.session.Session, client: SQSClient) -> Found:
    url = client.meta.endpoint_url
    # In the order of botocore: AWS_CA_BUNDLE or the profile's `ca_bundle`, REQUESTS_CA_BUNDLE, its own.
    ca_bundle = session._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return Found(
        url,
        client.meta.region_name,
        get_environ_proxies(url).get(urlsplit(url).scheme),
        ca_bundle or get_cert_path(True),
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


def check_region(config: Config, region: str) -> None:
    """Raise `InvalidInput` if no client can be made for a region that is not the configured one.

    AWS serves the regions that boto3 knows, and one of its addresses serves only the region that it names. An emulator
    takes the region from the signature, and so serves any.
    """
    address = config.aws_sqs_endpoint.get_secret_value() if config.aws_sqs_endpoint else ""
    host = urlsplit(address).hostname or ""
    if is_aws(host) and region not in host.split("."):
        raise InvalidInput(
            f"region {region!r} cannot be reached: AWS_SQS_ENDPOINT={mask('aws_sqs_endpoint', address)} serves only "
            "its own region; set AWS_SQS_ENDPOINT=aws",
            field="queue",
        )
    if address == "aws":
        session = boto3.session.Session()
        known = [
            one
            for partition in session.get_available_partitions()
            for one in session.get_available_regions("sqs", partition)
        ]
        if region not in known:
            near = difflib.get_close_matches(region, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "if it is new, update boto3"
            raise InvalidInput(f"region {region!r} is not one in which boto3 knows SQS; {hint}", field="queue")


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
    if isinstance(error, ProxyConnectionError | SSLError):
        return no_answer(address, _one_line(error))
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
