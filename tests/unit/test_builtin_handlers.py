"""The handlers `log` and `simulate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from queues.handlers import Message, builtin, registry
from queues.handlers.builtin import SimulateOptions, log_message, simulate
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.logs import configure


@pytest.fixture
def info() -> Iterator[None]:
    """Logs from INFO on, as in production; tests run with WARNING."""
    configure("INFO", "console")
    yield
    configure(get_config().log_level, get_config().log_format)


def test_log_tells_what_came(info: None) -> None:
    with capture_logs() as events:
        log_message(Message(id="1", body="é" * 500, queue="orders", receive_count=2))

    [event] = events
    assert event == {
        "event": "message_logged",
        "log_level": "info",
        "source": "queues.handlers.builtin",
        "queue": "orders",
        "message_id": "1",
        "receive_count": 2,
        "body": "é" * 200,
    }


class TestSimulate:
    @pytest.fixture
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """How long it slept, without sleeping."""
        slept: list[float] = []
        monkeypatch.setattr(builtin, "time", type("Time", (), {"sleep": staticmethod(slept.append)}))
        return slept

    def message(self, **options: Any) -> Message:
        return Message(id="1", body="", queue="orders", options=SimulateOptions(**options))

    def test_takes_one_to_five_seconds(self, slept: list[float]) -> None:
        for _ in range(200):
            simulate(self.message())

        assert 1 <= min(slept) < 2
        assert 4 < max(slept) <= 5

    def test_takes_as_long_as_the_queue_says(self, slept: list[float]) -> None:
        simulate(self.message(min_seconds=0.25, max_seconds=0.25))

        assert slept == [0.25]

    def test_fails_as_often_as_the_queue_says(self, slept: list[float]) -> None:
        simulate(self.message(failure_rate=0))
        with pytest.raises(RuntimeError, match="simulated failure"):
            simulate(self.message(failure_rate=1))

        assert len(slept) == 2  # a failure takes its time too

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"min_seconds": 3, "max_seconds": 2}, "min_seconds=3 is more than max_seconds=2"),
            ({"min_seconds": 6}, "min_seconds=6 is more than max_seconds=5"),
            ({"failure_rate": 1.1}, "failure_rate"),
            ({"failure_rate": -0.1}, "failure_rate"),
            ({"max_seconds": 3_601}, "max_seconds"),
            ({"speed": 1}, "speed"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            registry.get("simulate").parse_options(options)

        assert words in str(caught.value)
