"""What is tried again, when, and until when."""

from __future__ import annotations

import pytest

from queues.sqs.express.protocol import Refusal
from queues.sqs.express.retries import Kind, Quota, ServerClock, of_refusal
from queues.sqs.refusals import error_for
from queuesite.foundation.errors import SqsDenied

#: 1,000,000,000 s since 1970.
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.mark.parametrize(
    ("code", "status", "kind", "repeats_sends"),
    [
        ("Throttling", 400, Kind.THROTTLED, True),
        ("RequestThrottled", 403, Kind.THROTTLED, True),
        ("SlowDown", 503, Kind.THROTTLED, True),
        ("", 429, Kind.THROTTLED, True),
        ("ServiceUnavailable", 503, Kind.TRANSIENT, True),
        ("", 503, Kind.TRANSIENT, True),
        ("RequestTimeout", 400, Kind.TRANSIENT, True),
        ("InternalFailure", 500, Kind.TRANSIENT, False),
        ("", 502, Kind.TRANSIENT, False),
        ("", 504, Kind.TRANSIENT, False),
        ("OverLimit", 403, None, False),
        ("KmsThrottled", 400, None, False),
        ("QueueDoesNotExist", 400, None, False),
        ("", 501, None, False),
        ("", 403, None, False),
    ],
)
def test_refusals(code: str, status: int, kind: Kind | None, repeats_sends: bool) -> None:
    refusal = Refusal(code, "", status)

    assert of_refusal(refusal, repeatable=True) is kind
    assert of_refusal(refusal, repeatable=False) is (kind if repeats_sends else None)


@pytest.mark.parametrize(
    ("kind", "attempt", "luck", "asked_for", "seconds"),
    [
        (Kind.TRANSIENT, 1, 1.0, None, 0.05),
        (Kind.TRANSIENT, 2, 0.5, None, 0.05),
        (Kind.TRANSIENT, 1, 0.0, None, 0.0),
        (Kind.THROTTLED, 1, 1.0, None, 1.0),
        (Kind.THROTTLED, 9, 1.0, None, 20.0),
        (Kind.THROTTLED, 1, 1.0, "1500", 1.5),
        (Kind.THROTTLED, 1, 1.0, "500", 1.0),
        (Kind.TRANSIENT, 1, 1.0, "60000", 5.05),
        (Kind.TRANSIENT, 1, 1.0, "soon", 0.05),
    ],
)
def test_pauses(kind: Kind, attempt: int, luck: float, asked_for: str | None, seconds: float) -> None:
    assert kind.pause(attempt, luck, asked_for) == pytest.approx(seconds)


def test_quota() -> None:
    quota = Quota()

    assert sum(quota.spend(Kind.TRANSIENT) for _ in range(100)) == 35  # 490 of 500
    assert quota.spend(Kind.THROTTLED)
    assert quota.spend(Kind.THROTTLED)
    assert not quota.spend(Kind.THROTTLED)
    quota.success(Kind.TRANSIENT)
    assert quota.spend(Kind.TRANSIENT)
    for _ in range(5):
        quota.success(None)
    assert quota.spend(Kind.THROTTLED)
    for _ in range(200):
        quota.success(Kind.TRANSIENT)
    assert sum(quota.spend(Kind.TRANSIENT) for _ in range(100)) == 35


class TestClock:
    def learns(self, code: str, ours: float, date: str = DATE) -> tuple[bool, float]:
        clock = ServerClock(lambda: ours)
        return clock.learn(Refusal(code, "", 403), date), clock.now()

    @pytest.mark.parametrize(
        "code", ["InvalidSignature", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "AccessDenied"]
    )
    @pytest.mark.parametrize("off", [-86_400.0, -240.0, 240.0, 3e8])
    def test_it_is_off(self, code: str, off: float) -> None:
        assert self.learns(code, 1e9 + off) == (True, 1e9)

    @pytest.mark.parametrize(
        ("code", "off", "date"),
        [
            ("InvalidSignature", 239.0, DATE),
            ("InvalidSignature", 3_600.0, ""),
            ("InvalidSignature", 3_600.0, "yesterday"),
            ("QueueDoesNotExist", 3_600.0, DATE),
        ],
    )
    def test_it_is_right_or_nobody_knows(self, code: str, off: float, date: str) -> None:
        assert self.learns(code, 1e9 + off, date) == (False, 1e9 + off)

    def test_it_is_learnt_once(self) -> None:
        clock = ServerClock(lambda: 5e8)
        refusal = Refusal("InvalidSignature", "", 403)

        assert clock.learn(refusal, DATE)
        assert not clock.learn(refusal, DATE)
        assert clock.now() == 1e9

    def test_what_cannot_be_corrected_is_named(self) -> None:
        error = error_for("RequestTimeTooSkewed", "too far", status=403)

        assert isinstance(error, SqsDenied)
        assert "clock is wrong" in str(error)
