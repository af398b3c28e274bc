"""Limits of SQS that settings of queues and the configuration share.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

#: Longest time for which a received message can be hidden, counted from its receive.
MAX_VISIBILITY_SECONDS = 43_200
#: Longest time for which SQS keeps a message: 14 days.
MAX_RETENTION_SECONDS = 1_209_600
