"""Each source of boto3's credentials, seen in what requests are signed with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from queues.sqs import connection as module
from queues.sqs.gateway import SqsGateway
from queues.sqs.preparation import prepare
from queuesite.foundation import config as configuration
from queuesite.foundation.addresses import Running, embedded_keys, write_record
from queuesite.foundation.errors import ServerError, SqsDenied
from tests.conftest import Configure
from tests.support.credential_sources import CredentialSource, credential_source
from tests.support.faults import SqsProxy

NOTHING: dict[str, Any] = {
    "aws_access_key_id": None,
    "aws_secret_access_key": None,
    "aws_session_token": None,
    "aws_profile": None,
}


@pytest.fixture
def source() -> Iterator[CredentialSource]:
    with credential_source() as running:
        yield running


@pytest.fixture
def no_keys(faulty: SqsProxy, configure: Configure) -> SqsProxy:
    """SQS, and nothing of the test run's own credentials."""
    configure(**NOTHING)
    return faulty


def used(faulty: SqsProxy, config: configuration.Config) -> tuple[str, str | None]:
    """What a new gateway signs its first requests with: one of the express lane, and one of boto3."""
    faulty.answer("GetQueueAttributes", lambda _, __: {})
    gateway = SqsGateway(config)
    gateway.depth("http://sqs/1/any")
    gateway.check()
    express, boto3 = faulty.credentials[-2:]
    assert express == boto3
    gateway.close()
    return express


class TestSources:
    def test_keys_of_the_environment_with_their_token(self, no_keys: SqsProxy, configure: Configure) -> None:
        config = configure(aws_access_key_id="ASIAENV", aws_secret_access_key="s", aws_session_token="env-token")

        assert used(no_keys, config) == ("ASIAENV", "env-token")

    def test_lasting_keys_have_no_token(self, no_keys: SqsProxy, configure: Configure) -> None:
        assert used(no_keys, configure(aws_access_key_id="AKIA", aws_secret_access_key="s")) == ("AKIA", None)

    def test_keys_of_the_file_with_their_token(self, no_keys: SqsProxy, configure: Configure, tmp_path: Path) -> None:
        file = tmp_path / "env"
        file.write_text("AWS_ACCESS_KEY_ID=ASIAFILE\nAWS_SECRET_ACCESS_KEY=s\nAWS_SESSION_TOKEN=file-token\n")

        assert used(no_keys, configure(env_file=file)) == ("ASIAFILE", "file-token")

    @pytest.mark.parametrize("in_file", [False, True])
    def test_profile(self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, in_file: bool) -> None:
        credentials, env_file = tmp_path / "credentials", tmp_path / "env"
        credentials.write_text(
            "[team]\naws_access_key_id=ASIATEAM\naws_secret_access_key=s\naws_session_token=team-token\n"
        )
        env_file.write_text(f"AWS_PROFILE=team\nAWS_SHARED_CREDENTIALS_FILE={credentials}\n")

        if in_file:
            config = configure(env_file=env_file, aws_shared_credentials_file=None)
        else:
            config = configure(aws_profile="team", aws_shared_credentials_file=credentials)

        assert used(no_keys, config) == ("ASIATEAM", "team-token")

    def test_web_identity(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, source: CredentialSource
    ) -> None:
        assert used(no_keys, web_identity(configure, tmp_path, source)) == ("ASIA1", "token-1")

    def test_role_of_a_container(self, no_keys: SqsProxy, configure: Configure, source: CredentialSource) -> None:
        config = configure(aws_container_credentials_full_uri=f"{source.address}/container")

        assert used(no_keys, config) == ("ASIA1", "token-1")

    def test_role_of_an_instance(self, no_keys: SqsProxy, configure: Configure, source: CredentialSource) -> None:
        config = configure(aws_ec2_metadata_disabled=None, aws_ec2_metadata_service_endpoint=source.address)

        assert used(no_keys, config) == ("ASIA1", "token-1")

    def test_real_keys_do_not_reach_the_embedded_server(
        self, faulty: SqsProxy, configure: Configure, tmp_path: Path
    ) -> None:
        config = configure(
            aws_sqs_endpoint=None,
            data_dir=tmp_path,
            aws_access_key_id="ASIAREAL",
            aws_secret_access_key="s",
            aws_session_token="real-token",
        )
        write_record(config, {"sqs": Running.of(faulty.address, os.getpid())})

        assert used(faulty, config) == (embedded_keys(config)["aws_access_key_id"], None)


class TestRenewal:
    def test_what_expires_is_fetched_again_in_time(
        self, no_keys: SqsProxy, configure: Configure, source: CredentialSource
    ) -> None:
        source.lifetime = 60  # boto3 renews what has so little left before each request
        gateway = SqsGateway(configure(aws_container_credentials_full_uri=f"{source.address}/container"))

        for _ in range(3):
            gateway.check()

        tokens = [token for _, token in no_keys.credentials]
        assert len(set(tokens)) == 3
        assert tokens[-1] == f"token-{source.given}"

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException"])
    def test_keys_that_were_changed_in_a_file_are_found(
        self,
        no_keys: SqsProxy,
        configure: Configure,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: str,
    ) -> None:
        monkeypatch.setattr(boto3.session, "Session", boto3.Session)  # each reads its files itself
        file = tmp_path / "credentials"
        gateway = SqsGateway(configure(aws_shared_credentials_file=write_keys(file, "ASIAOLD")))
        gateway.check()
        no_keys.refuse("ListQueues", code, status=403, times=1)
        write_keys(file, "ASIANEW")

        with pytest.raises(SqsDenied):
            gateway.check()
        gateway.check()

        assert [key for key, _ in no_keys.credentials] == ["ASIAOLD", "ASIAOLD", "ASIANEW"]

    def test_credentials_that_come_later_are_found(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(boto3.session, "Session", boto3.Session)
        file = tmp_path / "credentials"
        gateway = SqsGateway(configure(aws_shared_credentials_file=file))
        now = [100.0]
        monkeypatch.setattr("queues.sqs.connection.time.monotonic", lambda: now[0])

        with pytest.raises(SqsDenied, match="no AWS credentials"):
            gateway.check()
        write_keys(file, "ASIALATE")
        with pytest.raises(SqsDenied):  # it has just looked
            gateway.check()
        now[0] += module.LOOK_AGAIN_SECONDS
        with pytest.raises(SqsDenied):
            gateway.check()
        gateway.check()

        assert no_keys.credentials == [("ASIALATE", "a-token")]


class TestExpress:
    """The same, of the express lane, which boto3 gives its keys."""

    @pytest.fixture
    def no_keys(self, no_keys: SqsProxy) -> SqsProxy:
        no_keys.answer("GetQueueAttributes", lambda _, __: {})
        return no_keys

    def test_what_expires_is_fetched_again_in_time(
        self, no_keys: SqsProxy, configure: Configure, source: CredentialSource
    ) -> None:
        source.lifetime = 60
        gateway = SqsGateway(configure(aws_container_credentials_full_uri=f"{source.address}/container"))

        for _ in range(3):
            gateway.depth("http://sqs/1/any")

        tokens = [token for _, token in no_keys.credentials]
        assert len(set(tokens)) == 3
        assert tokens[-1] == f"token-{source.given}"
        gateway.close()

    def test_keys_that_last_are_fetched_once(
        self, no_keys: SqsProxy, configure: Configure, source: CredentialSource
    ) -> None:
        config = configure(aws_container_credentials_full_uri=f"{source.address}/container")
        prepared = prepare(config)
        given = source.given

        gateways = [SqsGateway(config, prepared) for _ in range(3)]  # as consumers that are forked from one process
        for gateway in gateways:
            gateway.depth("http://sqs/1/any")
            gateway.close()

        assert source.given == given
        assert {token for _, token in no_keys.credentials} == {f"token-{given}"}

    def test_keys_that_were_changed_in_a_file_are_found(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(boto3.session, "Session", boto3.Session)
        file = tmp_path / "credentials"
        gateway = SqsGateway(configure(aws_shared_credentials_file=write_keys(file, "ASIAOLD")))
        gateway.depth("http://sqs/1/any")
        no_keys.refuse("GetQueueAttributes", "ExpiredToken", status=403, times=1)
        no_keys._rules["GetQueueAttributes"].reverse()  # the refusal goes first
        write_keys(file, "ASIANEW")

        with pytest.raises(SqsDenied, match="have expired"):
            gateway.depth("http://sqs/1/any")
        gateway.depth("http://sqs/1/any")

        assert [key for key, _ in no_keys.credentials] == ["ASIAOLD", "ASIAOLD", "ASIANEW"]
        gateway.close()

    def test_a_process_with_prepared_keys_makes_no_client_of_boto3(
        self, no_keys: SqsProxy, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = configure(aws_access_key_id="AKIA", aws_secret_access_key="s")
        prepared = prepare(config)

        def none(*_: object, **__: object) -> None:
            raise AssertionError("boto3 was asked")

        monkeypatch.setattr(boto3.session, "Session", none)
        gateway = SqsGateway(config, prepared)
        gateway.depth("http://sqs/1/any")

        assert no_keys.credentials == [("AKIA", None)]
        gateway.close()

    def test_no_keys_are_an_error_with_its_remedy(self, no_keys: SqsProxy, configure: Configure) -> None:
        gateway = SqsGateway(configure(aws_ec2_metadata_disabled="true", aws_shared_credentials_file=os.devnull))

        with pytest.raises(SqsDenied, match=r"no AWS credentials.*set AWS_ACCESS_KEY_ID"):
            gateway.depth("http://sqs/1/any")


@pytest.mark.parametrize("transport", ["express", "boto3"])
def test_embedded_server_is_not_asked_through_a_proxy(
    faulty: SqsProxy, configure: Configure, tmp_path: Path, transport: str
) -> None:
    faulty.answer("GetQueueAttributes", lambda _, __: {})
    nowhere = "http://127.0.0.1:9"
    config = configure(
        aws_sqs_endpoint=None,
        data_dir=tmp_path,
        sqs_transport=transport,
        http_proxy=nowhere,
        https_proxy=nowhere,
        no_proxy=None,
    )
    write_record(config, {"sqs": Running.of(faulty.address, os.getpid())})

    gateway = SqsGateway(config)
    gateway.depth("http://sqs/1/any")
    gateway.check()
    gateway.close()


class TestErrors:
    def test_sts_that_refuses_is_named(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path, source: CredentialSource
    ) -> None:
        source.refusal = "InvalidIdentityToken"

        with pytest.raises(SqsDenied, match=r"AssumeRoleWithWebIdentity, InvalidIdentityToken: no.*trust policy"):
            SqsGateway(web_identity(configure, tmp_path, source)).check()

    def test_source_that_is_broken_is_no_fault_of_sqs(
        self, no_keys: SqsProxy, configure: Configure, tmp_path: Path
    ) -> None:
        file = tmp_path / "config"
        file.write_text("[default]\ncredential_process = /bin/false\n")

        with pytest.raises(SqsDenied, match="no AWS credentials"):
            SqsGateway(configure(aws_config_file=file)).check()

    def test_no_secret_is_in_an_error(self, no_keys: SqsProxy, configure: Configure) -> None:
        no_keys.refuse("ListQueues", "InvalidClientTokenId", "The security token included in the request is invalid")
        config = configure(aws_access_key_id="ASIAX", aws_secret_access_key="s3cret", aws_session_token="t0ken")

        with pytest.raises(ServerError, match="AWS_SESSION_TOKEN") as caught:
            SqsGateway(config).check()

        assert not [secret for secret in ("s3cret", "t0ken") if secret in str(caught.value)]


def web_identity(configure: Configure, directory: Path, source: CredentialSource) -> configuration.Config:
    file = directory / "identity"
    file.write_text("a-web-identity-token")
    return configure(
        aws_web_identity_token_file=file,
        aws_role_arn="arn:aws:iam::123456789012:role/queuesite",
        aws_endpoint_url_sts=source.address,
    )


def write_keys(file: Path, key: str) -> Path:
    file.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\naws_session_token=a-token\n")
    return file
