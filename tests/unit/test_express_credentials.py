"""Where SQS is and by which keys: what is prepared before a fork, and renewed after it."""

from __future__ import annotations

import pickle
import time
from collections import deque
from pathlib import Path
from typing import Any

import boto3
import pytest

from queues.sqs.express import endpoint as module
from queues.sqs.express.endpoint import RENEW_BEFORE, Credentials, Prepared, Source
from queues.sqs.express.signing import Keys
from queues.sqs.preparation import prepare
from queuesite.foundation.errors import ServerError, SqsDenied, SqsUnavailable
from tests.conftest import Configure

OLD, NEW, NEWER = Keys("OLD", "s"), Keys("NEW", "s"), Keys("NEWER", "s")


def prepared(keys: Keys | None, expires_at: float | None = None) -> Prepared:
    return Prepared("https://sqs", "eu-west-1", "aws", "Queuesite", keys, expires_at)


class Finder:
    """Finds sources in turn; notes how often it looked."""

    def __init__(self, *found: list[tuple[Keys, float | None] | ServerError] | ServerError) -> None:
        self._found = deque(found)
        self.looked = 0

    def __call__(self) -> Source:
        self.looked += 1
        found = self._found.popleft()
        if isinstance(found, ServerError):
            raise found
        given = deque(found)

        def source() -> tuple[Keys, float | None]:
            one = given.popleft() if len(given) > 1 else given[0]
            if isinstance(one, ServerError):
                raise one
            return one

        return source


class TestCredentials:
    def test_those_that_were_prepared_need_nothing(self) -> None:
        finder = Finder()
        credentials = Credentials(prepared(OLD, time.time() + RENEW_BEFORE + 60), finder)

        assert credentials.get() == credentials.at_hand() == OLD
        assert finder.looked == 0

    def test_they_are_renewed_before_they_expire(self) -> None:
        soon, late = time.time() + RENEW_BEFORE - 1, time.time() + 3_600
        finder = Finder([(NEW, soon), (NEWER, late)])
        credentials = Credentials(prepared(OLD, soon), finder)

        assert credentials.at_hand() is None
        assert [credentials.get() for _ in range(3)] == [NEW, NEWER, NEWER]
        assert credentials.at_hand() == NEWER
        assert finder.looked == 1

    def test_none_were_prepared(self) -> None:
        credentials = Credentials(prepared(None), Finder([(NEW, None)]))

        assert credentials.at_hand() is None
        assert credentials.get() == NEW
        assert credentials.at_hand() == NEW

    def test_refused_ones_are_looked_for_again_now_and_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        finder = Finder([(NEW, None)], [(NEWER, None)])
        credentials = Credentials(prepared(OLD), finder)

        credentials.look_again()
        assert credentials.get() == NEW
        credentials.look_again()  # of another thread, which was refused at the same time
        assert credentials.get() == NEW
        monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)
        credentials._look_again_at = 0.0
        credentials.look_again()
        assert credentials.get() == NEWER
        assert finder.looked == 2

    def test_a_file_that_is_being_written(self) -> None:
        credentials = Credentials(prepared(OLD), Finder(SqsDenied("half a file")))

        credentials.look_again()

        assert credentials.get() == OLD

    def test_none_at_all_then_some(self) -> None:
        credentials = Credentials(prepared(None), Finder([SqsDenied("no AWS credentials")], [(NEW, None)]))

        with pytest.raises(SqsDenied, match="no AWS credentials"):
            credentials.get()

        assert credentials.get() == NEW

    def test_no_source_is_an_error_each_time(self) -> None:
        credentials = Credentials(prepared(None), Finder(SqsDenied("no profile"), SqsDenied("no profile")))

        for _ in range(2):
            with pytest.raises(SqsDenied, match="no profile"):
                credentials.get()


@pytest.fixture
def aws(configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configure:
    """AWS itself, with keys of the environment."""
    monkeypatch.setattr(boto3.session, "Session", boto3.Session)  # each reads its files itself
    for name in ("https_proxy", "http_proxy", "no_proxy"):  # they win over those in capitals
        monkeypatch.delenv(name, raising=False)
    configure(
        aws_sqs_endpoint="aws",
        aws_region="eu-west-1",
        aws_access_key_id="AKIA",
        aws_secret_access_key="s3cret",
        aws_session_token="t0ken",
        aws_config_file=tmp_path / "config",
        aws_profile=None,
        https_proxy=None,
        http_proxy=None,
        no_proxy=None,
        aws_ca_bundle=None,
        requests_ca_bundle=None,
    )
    return configure


class TestPreparation:
    def test_aws(self, aws: Configure) -> None:
        found = prepare(aws())

        assert (found.url, found.region, found.address) == ("https://sqs.eu-west-1.amazonaws.com", "eu-west-1", "aws")
        assert found.keys == Keys("AKIA", "s3cret", "t0ken")
        assert (found.expires_at, found.proxy) == (None, None)
        assert found.ca_bundle is not None
        assert found.ca_bundle.endswith("cacert.pem")
        assert pickle.loads(pickle.dumps(found)) == found
        assert not [secret for secret in ("s3cret", "t0ken") if secret in repr(found)]

    @pytest.mark.parametrize(
        ("values", "url"),
        [
            ({"aws_use_fips_endpoint": "true", "aws_region": "us-east-1"}, "https://sqs-fips.us-east-1.amazonaws.com"),
            ({"aws_use_dualstack_endpoint": "true"}, "https://sqs.eu-west-1.api.aws"),
            ({"aws_region": "cn-north-1"}, "https://sqs.cn-north-1.amazonaws.com.cn"),
            ({"aws_endpoint_url": "http://10.0.0.9:4566"}, "http://10.0.0.9:4566"),
            ({"aws_endpoint_url_sqs": "http://10.0.0.8:4566"}, "http://10.0.0.8:4566"),
            ({"aws_sqs_endpoint": "http://10.0.0.7:4566/sqs"}, "http://10.0.0.7:4566/sqs"),
        ],
    )
    def test_endpoints(self, aws: Configure, values: dict[str, Any], url: str) -> None:
        assert prepare(aws(**values)).url == url

    def test_bundle_of_the_environment_or_the_profile(self, aws: Configure, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[default]\nca_bundle = /of/the/profile\n")

        assert prepare(aws(requests_ca_bundle="/of/requests")).ca_bundle == "/of/the/profile"
        assert prepare(aws(aws_ca_bundle="/of/aws")).ca_bundle == "/of/aws"
        (tmp_path / "config").write_text("")
        assert prepare(aws(aws_ca_bundle=None)).ca_bundle == "/of/requests"

    def test_proxies(self, aws: Configure) -> None:
        assert prepare(aws(https_proxy="http://u:pass@proxy:3128")).proxy == "http://u:pass@proxy:3128"
        assert "pass" not in repr(prepare(aws()))
        assert prepare(aws(no_proxy="amazonaws.com")).proxy is None
        assert prepare(aws(no_proxy=None, https_proxy=None, http_proxy="http://proxy:3128")).proxy is None
        plain = prepare(aws(aws_sqs_endpoint="http://10.0.0.7:4566"))
        assert plain.proxy == "http://proxy:3128"

    def test_keys_that_cannot_be_had_yet(self, aws: Configure) -> None:
        config = aws(
            aws_access_key_id=None,
            aws_secret_access_key=None,
            aws_session_token=None,
            aws_ec2_metadata_disabled="true",
            aws_shared_credentials_file="/dev/null",
        )

        assert prepare(config).keys is None

    def test_unknown_profile(self, aws: Configure) -> None:
        with pytest.raises(SqsDenied, match="nobody"):
            prepare(aws(aws_profile="nobody"))

    def test_nothing_runs(self, configure: Configure, tmp_path: Path) -> None:
        with pytest.raises(SqsUnavailable, match="make up"):
            prepare(configure(aws_sqs_endpoint=None, data_dir=tmp_path))
