"""Testing handlers and what code sends, without a server, a worker or a fork.

    from jobs.testing import assert_sent, deliver, drain, sent

    def test_order_is_confirmed(queue_sandbox):
        assert deliver("orders", Order(number=1)).done
        assert_sent("mails", {"order": 1}, delay=60)
        assert drain("mails").failed == 0

The fixture `queue_sandbox` comes with the wheel, or with `pytest_plugins = ["jobs.testing.plugin"]` in a clone; other
test frameworks use `with sandbox():`. In a sandbox whatever is sent is kept in queues in memory, and nothing goes to
SQS. None of this works in production code: handlers are called in the caller's thread, and time passes as `drain`
likes.
"""

from jobs.testing.django_setup import set_up

set_up()  # models cannot be imported before

from jobs.testing.delivery import Delivery as Delivery  # noqa: E402
from jobs.testing.delivery import adeliver as adeliver  # noqa: E402
from jobs.testing.delivery import deliver as deliver  # noqa: E402
from jobs.testing.draining import Drained as Drained  # noqa: E402
from jobs.testing.draining import drain as drain  # noqa: E402
from jobs.testing.sandbox import Sandbox as Sandbox  # noqa: E402
from jobs.testing.sandbox import SentMessage as SentMessage  # noqa: E402
from jobs.testing.sandbox import sandbox as sandbox  # noqa: E402
from jobs.testing.sending import assert_sent as assert_sent  # noqa: E402
from jobs.testing.sending import sent as sent  # noqa: E402
