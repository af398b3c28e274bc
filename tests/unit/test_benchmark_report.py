"""A benchmark's figures against their goals."""

from __future__ import annotations

import pytest

from jobs.benchmark import report
from jobs.benchmark.fleet import Footprint, Hot, Latencies
from jobs.benchmark.floor import Usage
from jobs.benchmark.report import MIB, Figure
from jobs.benchmark.scale import Scale
from queuesite.foundation.errors import InvalidInput

FLOOR = Usage(1_000, cpu_seconds=0.2, wall_seconds=0.5, requests=200)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.what: figure for figure in figures}


def test_a_goal_is_met_or_missed_by_its_ratio_to_the_floor() -> None:
    good = by_name(report.consumption("x", FLOOR, Usage(1_000, 0.12, 0.35, 205, memory_bytes=17 * MIB), 0.6))
    assert good["x: CPU against the floor"].shown == "0.60 x"
    assert all(figure.met is not False for figure in good.values())
    bad = by_name(report.consumption("x", FLOOR, Usage(1_000, 0.13, 0.5, 220, memory_bytes=19 * MIB), 0.6))
    assert [figure.what for figure in bad.values() if figure.met is False] == [
        "x: CPU against the floor",
        "x: requests per message",
        "x: memory of the consumer's own",
    ]
    assert bad["x: ours, messages/s"].shown == "2,000"


class TestInADocument:
    FIGURES = (Figure("speed", 1.0, "1.0 s", "at most 2.0 s", True), Figure("size", 3.0, "3 MB"))

    def test_the_table_between_its_marks_is_made_anew(self) -> None:
        text = "# Head\n\n<!-- x -->\nold\n<!-- end x -->\n\n<!-- y -->\nother\n<!-- end y -->\n"
        made = report.in_document(text, "x", self.FIGURES, {"cores": "2"})
        assert "old" not in made
        assert "| speed | 1.0 s | at most 2.0 s | yes |\n| size | 3 MB |  |  |" in made
        assert "cores: 2." in made
        assert made.startswith("# Head\n\n<!-- x -->\n")
        assert made.endswith("<!-- end x -->\n\n<!-- y -->\nother\n<!-- end y -->\n")
        assert report.in_document(made, "x", self.FIGURES, {"cores": "2"}) == made

    @pytest.mark.parametrize("text", ["", "<!-- x -->", "<!-- end x -->", "<!-- y --><!-- end y -->"])
    def test_marks_that_are_missing_are_named(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="<!-- x --> and <!-- end x -->"):
            report.in_document(text, "x", self.FIGURES, {})


def test_slow_handlers() -> None:
    slots, requests = report.slow(Usage(1_000, 1, 40, 300, occupied=0.985))
    assert (slots.shown, slots.met, requests.shown, requests.met) == ("98.5%", True, "0.30", True)


def test_a_server_that_costs_nothing() -> None:
    found = by_name(report.limit(FLOOR, Usage(1_000, 0.12, 0.35, 205)))
    rate = found["server at no cost: messages/s against the floor"]
    assert (rate.shown, rate.met) == ("1.43 x", False)
    assert found["server at no cost: CPU against the floor"].shown == "0.60 x"


def test_latencies() -> None:
    warm = Latencies((*[0.05] * 50, 0.3))
    cold = Latencies((0.2, 0.26, 0.3))
    median, worst, cold_median = report.latency(warm, cold)
    assert (median.shown, worst.shown, cold_median.shown) == ("50 ms", "300 ms", "260 ms")
    assert (median.met, worst.met, cold_median.met) == (True, True, False)


def test_the_rest() -> None:
    assert by_name(report.hot(Hot(100.0, 150.0, 3)))["hot queue: against one consumer"].met is False
    ready, memory = report.footprint(Footprint(1.2, 90 * MIB))
    assert (ready.met, memory.shown) == (True, "90 MB")
    measured = Scale(10_000, 25, 0.3, 200 * MIB, 0.002, 2, 0.02, 0.5, 0.05, 3, 1)
    found = by_name(report.scale(measured, 30))
    assert found["10,000 queues: a turn without events, CPU"].shown == "2.0 ms"
    assert found["1,000 woken at once: served twice before all once"].met is False
    assert found["10,000 queues: database operations of it"].as_dict()["met"] is None
