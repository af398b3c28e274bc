"""A gateway for each region: a queue that others own may be in another region than the configured one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from queues.sqs import get_gateway
from queuesite.foundation.config import Config, get_config

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway


#: More regions than AWS has; beyond that, those that were used the longest ago are forgotten.
MOST_REGIONS = 64


def gateway_in(region: str | None) -> SqsGateway:
    """The gateway of a region, made when it is first needed; None: the configured region's.

    Raises `InvalidInput` if the configured address of SQS does not serve the region.
    """
    config = get_config()
    if region is None or region == config.aws_region:
        return get_gateway()
    return _elsewhere(config, region)


@functools.lru_cache(maxsize=MOST_REGIONS)
def _elsewhere(config: Config, region: str) -> SqsGateway:
    from queues.sqs.connection import check_region
    from queues.sqs.gateway import SqsGateway

    check_region(config, region)
    return SqsGateway(config.model_copy(update={"aws_region": region}))
