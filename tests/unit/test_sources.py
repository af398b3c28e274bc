"""How a queue in SQS is named by people."""

from __future__ import annotations

import pytest

from queues import sources
from queues.sources import Source
from queues.sqs import connection
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("orders", Source("orders")),
        ("orders.fifo", Source("orders.fifo")),
        (f"arn:aws:sqs:eu-west-1:{ACCOUNT}:orders", Source("orders", ACCOUNT, "eu-west-1")),
        (f"arn:aws-cn:sqs:cn-north-1:{ACCOUNT}:orders.fifo", Source("orders.fifo", ACCOUNT, "cn-north-1")),
        (f"arn:aws-us-gov:sqs:us-gov-west-1:{ACCOUNT}:orders", Source("orders", ACCOUNT, "us-gov-west-1")),
        (f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/orders", Source("orders", ACCOUNT, "eu-west-1")),
        (f"https://sqs-fips.us-east-2.amazonaws.com/{ACCOUNT}/orders", Source("orders", ACCOUNT, "us-east-2")),
        (f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/orders", Source("orders", ACCOUNT, "cn-north-1")),
        (f"https://eu-west-1.queue.amazonaws.com/{ACCOUNT}/orders", Source("orders", ACCOUNT, "eu-west-1")),
        (f"https://queue.amazonaws.com/{ACCOUNT}/orders", Source("orders", ACCOUNT, "us-east-1")),
        (f"https://sqs.eu-west-1.api.aws/{ACCOUNT}/orders", Source("orders", ACCOUNT, "eu-west-1")),
        (
            f"https://vpce-0a1b2c-9z.sqs.ap-southeast-2.vpce.amazonaws.com/{ACCOUNT}/orders",
            Source("orders", ACCOUNT, "ap-southeast-2"),
        ),
        ("http://localhost:4566/000000000000/orders", Source("orders", "000000000000")),
        (
            "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/orders",
            Source("orders", "000000000000", "eu-west-1"),
        ),
        ("http://localhost:4566/queue/eu-west-1/000000000000/orders", Source("orders", "000000000000", "eu-west-1")),
    ],
)
def test_what_is_understood(text: str, wanted: Source) -> None:
    assert sources.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "queue name '' is not valid"),
        ("or ders", "queue name 'or ders' is not valid"),
        ("x" * 81, "is not valid: expected 1 to 80"),
        (f"arn:aws:s3:eu-west-1:{ACCOUNT}:orders", "is an ARN of s3: expected one of SQS"),
        ("arn:aws:s3:::bucket", "is an ARN of s3: expected one of SQS"),
        ("arn:aws:sqs:eu-west-1:orders", "is not an ARN: expected arn:aws:sqs:REGION:ACCOUNT:NAME"),
        ("arn:aws:sqs:Europe:123456789012:orders", "is not an ARN"),
        ("arn:aws:sqs:eu-west-1:12345:orders", "is not an ARN"),
        (f"arn:aws:sqs:eu-west-1:{ACCOUNT}:or ders", "queue name 'or ders' is not valid"),
        (f"arn:aws:sqs:eu-west-1:{ACCOUNT}:orders:more", "is not an ARN"),
        ("arn:", "is not an ARN"),
        ("https://example.com/orders", "is not the URL of a queue"),
        (f"ftp://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/orders", "is not the URL of a queue"),
        ("https://[/123456789012/orders", "is not the URL of a queue"),
        (f"https://s3.eu-west-1.amazonaws.com/{ACCOUNT}/orders", "is a URL of another service"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")) as caught:
        sources.parse(text)
    assert caught.value.field == "queue"
    assert "\n" not in str(caught.value)


class TestRegions:
    def test_aws_serves_those_that_boto3_knows(self, configure: Configure) -> None:
        config = configure(aws_sqs_endpoint="aws")

        for region in ("eu-west-1", "cn-north-1", "us-gov-west-1"):
            connection.check_region(config, region)
        with pytest.raises(InvalidInput, match="'eu-wst-1' is not one in which boto3 knows SQS; did you mean eu-west"):
            connection.check_region(config, "eu-wst-1")
        with pytest.raises(InvalidInput, match="'zz-moon-9' is not one in which boto3 knows SQS; if it is new"):
            connection.check_region(config, "zz-moon-9")

    @pytest.mark.parametrize("host", ["sqs.eu-west-1.amazonaws.com", "vpce-1-2.sqs.eu-west-1.vpce.amazonaws.com"])
    def test_one_address_of_aws_serves_its_own(self, host: str, configure: Configure) -> None:
        config = configure(aws_sqs_endpoint=f"https://{host}")

        connection.check_region(config, "eu-west-1")
        with pytest.raises(InvalidInput, match=f"'us-east-1' cannot be reached: .*{host}.*set AWS_SQS_ENDPOINT=aws"):
            connection.check_region(config, "us-east-1")

    def test_an_emulator_serves_any(self, configure: Configure) -> None:
        connection.check_region(configure(aws_sqs_endpoint="http://localhost:4566"), "zz-moon-9")
