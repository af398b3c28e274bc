"""For how long a message is hidden at a time. Pure.

To SQS a consumer that has died and one that cannot reach it look the same: how soon others get a message after a death
is also how long an outage may last before they get it too early. So a message is first hidden for `FIRST_SECONDS`, and
each extension hides it for as long again as it has been held: a death costs a message at most as much waiting as has
been spent on it, or `FIRST_SECONDS`. The queue's own visibility timeout is never exceeded.
"""

from __future__ import annotations

#: How long SQS hides a message that has just been received, in seconds: SQS's own default, and long enough for most
#: handlers to need no extension.
FIRST_SECONDS = 30
#: The longest that one extension hides a message, in seconds. An extension every five minutes for ten messages costs
#: next to nothing, and caution after a crash (`jobs.consumer.caution.LONGEST_CAUTION`) outlasts it.
LONGEST_SECONDS = 600
#: SQS hides no message for longer than 12 h after its receive. We count from when the receive was asked for, so only
#: the request that extends has to be allowed for: it counts from when it arrives, after up to two repetitions by boto3.
MARGIN_SECONDS = 5
#: How much less to ask for, in seconds, when SQS still says that a timeout ends after its 12 h.
STEP_SECONDS = 60
#: How long a message may wait for a slot, in seconds, before it is given back. Behind the long handlers of its FIFO
#: group it would otherwise begin when most of its 12 h has passed.
LONGEST_WAIT = 3_600.0


def window(visibility_timeout: int, held_for: float, max_receive_count: int = 0) -> int:
    """For how many seconds to hide a message that has been held for `held_for` seconds.

    A message that may be received only once goes to the dead-letter queue as soon as it is visible again. An early
    return is of no use to it, so it gets the longest window from the start.
    """
    wanted = LONGEST_SECONDS if max_receive_count == 1 else max(FIRST_SECONDS, int(held_for))
    return min(visibility_timeout, LONGEST_SECONDS, wanted)


def longest_window(visibility_timeout: int) -> int:
    """The longest, in seconds, that a message of a consumer which has just died stays hidden."""
    return min(visibility_timeout, LONGEST_SECONDS)
