"""What was done with queues: counted up by workers, read as sums, series and metrics."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from django.core.cache import cache
from prometheus_client.parser import text_string_to_metric_families

from jobs import histogram, metrics, statistics
from jobs.repositories import leases, masters, throughput
from jobs.repositories.throughput import Row
from jobs.throughput_models import Throughput, ThroughputHour, ThroughputHourOfAll, ThroughputOfAll
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure
from tests.support import records
from tests.support.api import Api, everything

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

MINUTE = timedelta(minutes=1)


def this_minute() -> datetime:
    return database_clock.now().replace(second=0, microsecond=0)


def row(queue: Any, minute: datetime, *durations: float, **counts: Any) -> Row:
    return Row(
        queue.id,
        queue.name,
        minute,
        processed=len(durations),
        durations=histogram.counts(durations),
        duration_sum=sum(durations),
        **counts,
    )


def test_requests_add_up_by_what_they_were_made_for() -> None:
    orders = records.define()
    minute = this_minute()
    throughput.add([row(orders, minute, requests=5, purposes={"receive": 3, "delete": 2})])
    throughput.add([row(orders, minute, requests=1, purposes={"listen": 1})])
    (total,) = throughput.totals()
    assert (total.requests, total.purposes) == (6, {"receive": 3, "delete": 2, "listen": 1})
    for summed in (throughput.work_of_all, throughput.sums_by_step):
        (found,) = summed(minute, minute + MINUTE, MINUTE)
        assert {purpose: count for purpose, count in found.purposes.items() if count} == total.purposes


def test_counts_of_a_minute_add_up() -> None:
    orders = records.define()
    minute = datetime.now(UTC).replace(second=42, microsecond=123_000) - timedelta(days=1)

    throughput.add([row(orders, minute, 0.01, 0.2, requests=3)])
    throughput.add([row(orders, minute, 400.0, failed=1, rejected=1, timed_out=1)])

    (found,) = throughput.work(orders.id, minute - MINUTE, minute + MINUTE, MINUTE)
    assert found.minute == minute.replace(second=0, microsecond=0)
    assert (found.processed, found.failed, found.rejected, found.timed_out, found.requests) == (3, 1, 1, 1, 3)
    assert found.buckets == histogram.counts([0.01, 0.2, 400.0])
    assert found.duration_sum == pytest.approx(400.21)
    assert found.expires_at == found.minute + timedelta(days=7)
    (total,) = throughput.totals()
    assert (total.processed, total.minute, total.buckets) == (3, None, found.buckets)


def test_row_without_anything_writes_nothing() -> None:
    throughput.add([Row(ObjectId(), "orders", this_minute())])
    throughput.add([])

    assert collection(Throughput).count_documents({}) == 0


def test_many_workers_at_once() -> None:
    queues = [records.define(f"q{n}") for n in range(3)]
    minute = this_minute()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: throughput.add([row(queue, minute, 0.1, requests=2) for queue in queues]), range(40)))

    assert {total.processed for total in throughput.totals()} == {40}
    (together,) = throughput.work_of_all(minute, minute + MINUTE, MINUTE)
    assert (together.processed, together.requests) == (120, 240)
    assert collection(Throughput).count_documents({}) == 6


def test_sums_of_a_window() -> None:
    orders, invoices = records.define("orders"), records.define("invoices")
    minute = this_minute()
    throughput.add([row(orders, minute - n * MINUTE, 0.01) for n in range(5)])
    throughput.add([row(invoices, minute - MINUTE, 2.0, failed=4)])

    before, last = throughput.sums_by_step(minute - 2 * MINUTE, minute, MINUTE)

    assert (before.processed, before.failed, before.buckets) == (1, 0, histogram.counts([0.01]))
    assert (last.processed, last.failed, last.buckets) == (2, 4, histogram.counts([0.01, 2.0]))
    assert throughput.sums_by_step(minute + MINUTE, minute + 2 * MINUTE, MINUTE) == []


def test_all_queues_together_have_a_row_of_their_own() -> None:
    queues = [records.define(f"q{n}") for n in range(3)]
    minute = this_minute()
    throughput.add([row(queue, minute - back * MINUTE, 0.01, failed=1) for queue in queues for back in (0, 1, 30)])
    throughput.add([row(queues[0], minute, 2.0, purposes={"receive": 1})])

    def together(since: datetime) -> dict[datetime | None, tuple[int, int]]:
        rows = throughput.work_of_all(since, minute + MINUTE, MINUTE)
        return {one.minute: (one.processed, one.failed) for one in rows}

    expected = {minute - 30 * MINUTE: (3, 3), minute - MINUTE: (3, 3), minute: (4, 3)}
    assert together(minute - 60 * MINUTE) == expected
    assert together(minute - MINUTE) == {minute - MINUTE: (3, 3), minute: (4, 3)}
    newest = throughput.work_of_all(minute, minute + MINUTE, MINUTE)[-1]
    assert newest.buckets == histogram.counts([0.01, 0.01, 0.01, 2.0])
    assert newest.purposes == {"receive": 1}
    # Nothing that is about queues counts it twice.
    assert {one.processed for one in throughput.by_queue(minute, minute + MINUTE).values()} == {1, 2}
    assert [one.processed for one in throughput.sums_by_step(minute, minute + MINUTE, MINUTE)] == [4]
    assert sorted(total.processed for total in throughput.totals()) == [3, 3, 4]
    # What was recorded before there were such rows is added up, and what a deleted queue did stays.
    collection(ThroughputOfAll).delete_many({"minute": {"$lt": minute}})
    assert together(minute - 60 * MINUTE) == expected
    throughput.forget(queues[0].id)
    assert together(minute) == {minute: (4, 3)}


class TestHours:
    """Long spans are read by the hour, and come to the same as their minutes do."""

    HOUR = timedelta(hours=1)
    HOURS = (ThroughputHour, ThroughputHourOfAll)
    #: Not so long ago that MongoDB removes what was done then while a test looks at it.
    SINCE = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) - timedelta(days=2)
    UNTIL = SINCE + timedelta(hours=5.5)

    def work(self) -> list[Queue]:
        """Two queues with something done every 20 minutes from well before SINCE to well after UNTIL."""
        queues = [records.define("orders"), records.define("invoices")]
        moments = [self.SINCE + n * 20 * MINUTE for n in range(-6, 24)]
        throughput.add([row(queue, at, 0.01, 2.0, failed=1) for queue in queues for at in moments])
        return queues

    def by_step(self, step: timedelta) -> dict[datetime | None, tuple[int, int, tuple[int, ...]]]:
        found = throughput.sums_by_step(self.SINCE, self.UNTIL, step)
        queues = {row.minute: (row.processed, row.failed, row.buckets) for row in found}
        rows = throughput.work_of_all(self.SINCE, self.UNTIL, step)
        points = statistics.points(rows, self.SINCE, self.UNTIL, step)
        assert {one.at: one.processed for one in points if one.processed} == {at: of[0] for at, of in queues.items()}
        return queues

    def of_queue(self, queue: Queue) -> dict[datetime, int]:
        rows = throughput.work(queue.id, self.SINCE, self.UNTIL, self.HOUR)
        return {point.at: point.processed for point in statistics.points(rows, self.SINCE, self.UNTIL, self.HOUR)}

    def test_an_hour_is_one_document_a_queue(self) -> None:
        self.work()
        hours = collection(ThroughputHour)
        assert hours.count_documents({}) == 2 * 10
        (found,) = hours.find({"queueName": "orders", "minute": self.SINCE})
        assert (found["processed"], found["failed"]) == (6, 3)
        assert found["expiresAt"] == self.SINCE + timedelta(days=8)

    def test_both_ways_come_to_the_same(self) -> None:
        orders, _ = self.work()
        expected, of_orders = self.by_step(2 * self.HOUR), self.of_queue(orders)
        assert [sums[0] for _, sums in sorted(expected.items())] == [24, 24, 20]
        for record in self.HOURS:
            collection(record).delete_many({})
        assert self.by_step(2 * self.HOUR) == expected
        assert self.of_queue(orders) == of_orders

    def test_what_was_done_before_hours_were_written_is_in_the_minutes(self) -> None:
        orders, _ = self.work()
        expected, of_orders = self.by_step(2 * self.HOUR), self.of_queue(orders)
        # They began at 8:50: of the hour before only its last part is there.
        for record in self.HOURS:
            hours = collection(record)
            hours.delete_many({"minute": {"$lt": self.SINCE + 2 * self.HOUR}})
            hours.update_many({"minute": self.SINCE + 2 * self.HOUR}, {"$set": {"processed": 1, "failed": 0}})
        assert self.by_step(2 * self.HOUR) == expected
        assert self.of_queue(orders) == of_orders

    def test_minutes_are_read_for_the_edges_alone(self) -> None:
        self.work()
        for record in (Throughput, ThroughputOfAll):
            collection(record).delete_many({"minute": {"$gte": self.SINCE, "$lt": self.SINCE + 5 * self.HOUR}})
        assert sum(sums[0] for sums in self.by_step(self.HOUR).values()) == 68

    def test_steps_of_minutes_are_read_by_the_minute(self) -> None:
        self.work()
        for record in self.HOURS:
            collection(record).delete_many({})
        assert len(self.by_step(20 * MINUTE)) == 17


class TestSeries:
    def test_points_are_steps_with_nothing_left_out(self) -> None:
        orders = records.define()
        minute = this_minute()
        throughput.add([row(orders, minute, 0.01, 0.01), row(orders, minute - 3 * MINUTE, 0.2)])

        points = statistics.series("orders", timedelta(hours=1), MINUTE)

        assert len(points) == 60
        assert [b.at - a.at for a, b in itertools.pairwise(points)] == [MINUTE] * 59
        done = {point.at: point.processed for point in points if point.processed}
        assert done == {minute: 2, minute - 3 * MINUTE: 1}
        assert points[0].mean is None
        assert points[0].p99 is None

    def test_longer_steps_add_minutes_up(self) -> None:
        orders = records.define()
        minute = this_minute()
        throughput.add([row(orders, minute - n * MINUTE, 0.1) for n in range(60)])

        points = statistics.series("orders", timedelta(hours=2), timedelta(minutes=30))

        assert sum(point.processed for point in points) == 60
        assert len(points) == 4
        assert all(point.at.minute % 30 == 0 for point in points)

    @pytest.mark.parametrize(
        ("window", "step", "field"),
        [
            ("8d", "1h", "window"),
            ("5m", "10m", "step"),
            ("7d", "1m", "step"),
            ("0m", "1m", "window"),
            ("1h", "5s", "step"),
        ],
    )
    def test_limits(self, window: str, step: str, field: str) -> None:
        records.define()

        (error,) = everything().get(f"/queues/orders/throughput?window={window}&step={step}").problem(422)["errors"]

        assert error["field"] == field

    def test_spans_as_text(self) -> None:
        assert statistics.parse_duration("15m", "window") == timedelta(minutes=15)
        assert statistics.parse_duration("7d", "window") == timedelta(days=7)
        with pytest.raises(InvalidInput, match="such as 15m"):
            statistics.parse_duration("-1h", "window")

    def test_by_the_api(self) -> None:
        throughput.add([row(records.define(), this_minute(), 0.01, failed=1)])

        series = everything().get("/queues/orders/throughput?window=15m&step=5m").ok()

        assert (series["name"], series["step"], len(series["points"])) == ("orders", 300, 3)
        last = series["points"][-1]
        assert (last["processed"], last["failed"], last["seconds"], last["p50"]) == (1, 1, 300, 0.0075)
        assert last["at"].endswith(":00.000Z")


class TestStats:
    @pytest.fixture
    def api(self) -> Api:
        cache.clear()
        return everything()

    def test_of_nothing(self, api: Api) -> None:
        found = api.get("/stats").ok()

        assert found["queues"] == {"active": 0, "waiting": 0, "backing-off": 0, "unserved": 0, "paused": 0, "idle": 0}
        assert (found["workers"], found["capacity"], found["leader"], found["oldestWaiting"]) == (0, 0, None, None)
        assert found["lastMinute"]["mean"] is None

    def test_of_a_system_at_work(self, api: Api) -> None:
        from queues import repository

        now = database_clock.now()
        orders = records.define("orders", depth_visible=5, depth_in_flight=2)
        records.define("waiting", depth_visible=7, depth_delayed=1, visible_since=now - timedelta(minutes=2))
        woken = records.define("woken")
        repository.wake(woken.id)
        records.define("paused", paused=True, dead_letters=3)
        records.define("backing-off", not_before=now + timedelta(minutes=1))
        records.define("idle")
        records.register("w1", capacity=5)
        records.register("stalled", capacity=50)
        records.set_heartbeat("stalled", now - timedelta(minutes=5))
        records.running(orders)
        leases.acquire("m1", 30)
        throughput.add([row(orders, this_minute() - MINUTE, 0.01, 0.2, failed=1)])
        throughput.add([row(orders, this_minute() - 30 * MINUTE, 0.3)])

        found = api.get("/stats").ok()

        assert found["queues"] == {"active": 1, "waiting": 2, "backing-off": 1, "unserved": 0, "paused": 1, "idle": 1}
        assert (found["visible"], found["inFlight"], found["delayed"], found["deadLetters"]) == (12, 2, 1, 3)
        assert (found["workers"], found["capacity"], found["capacityUsed"], found["leader"]) == (1, 5, 1, "m1")
        assert found["lastMinute"]["processed"] in {0, 2}  # a minute may have passed since
        assert (found["lastHour"]["processed"], found["lastHour"]["failed"]) == (3, 1)
        assert found["lastHour"]["p99"] == pytest.approx(0.5, abs=0.01)
        assert found["oldestWaiting"]["queue"] == "waiting"
        assert found["malformedDocuments"] == 0

    def test_malformed_documents_are_counted(self, api: Api) -> None:
        for name in ("orders", "invoices"):
            collection(Queue).update_one({"_id": records.define(name).pk}, {"$set": {"concurrency": "many"}})
        assert api.get("/stats").ok()["malformedDocuments"] == 2


class TestMetrics:
    def parsed(self) -> dict[str, dict[tuple[str, ...], float]]:
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(metrics.text().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = (
                    sample.value
                )
        return found

    def test_of_nothing(self) -> None:
        found = self.parsed()

        assert found["queuesite_workers"] == {(): 0}
        assert found["queuesite_sweep_lag_seconds"] == {(): 0}
        assert "queuesite_leader" not in found
        assert "queuesite_slots_wanted" not in found

    def test_of_a_system_at_work(self, configure: Configure) -> None:
        configure(sweep_max_seconds=30)
        now = database_clock.now()
        orders = records.define("orders", depth_visible=5, depth_in_flight=2, depth_observed_at=now, dead_letters=1)
        records.define("late", depth_observed_at=now - timedelta(seconds=100))
        records.define("paused", paused=True, depth_observed_at=now - timedelta(days=1))
        records.define("tripped", trip_count=2, not_before=now + timedelta(minutes=1), depth_observed_at=now)
        records.register("w1", capacity=5)
        records.running(orders)
        leases.acquire("m1", 30)
        masters.heartbeat("m1", "host", 1, {"gpu": 3})
        throughput.add([row(orders, this_minute(), 0.01, 0.2, 400.0, failed=1, rejected=1, requests=9)])
        throughput.add([row(orders, this_minute(), requests=3, purposes={"listen": 2, "sweep": 1})])
        waits = histogram.counts([0.2, 7_000.0], histogram.WAIT_BOUNDS)
        throughput.add([row(orders, this_minute(), waits=waits, wait_sum=7_000.2)])

        found = self.parsed()

        assert found["queuesite_queue_visible_messages"][("orders",)] == 5
        assert found["queuesite_queue_in_flight_messages"][("orders",)] == 2
        assert found["queuesite_queue_dead_letters"][("orders",)] == 1
        assert found["queuesite_queue_paused"][("paused",)] == 1
        assert found["queuesite_queue_trips"][("tripped",)] == 2
        assert 0 < found["queuesite_queue_backoff_seconds"][("tripped",)] <= 60
        assert found["queuesite_queue_backoff_seconds"][("orders",)] == 0
        assert found["queuesite_messages_processed_total"] == {("orders",): 3}
        assert found["queuesite_messages_failed_total"] == {("orders",): 1}
        assert found["queuesite_messages_rejected_total"] == {("orders",): 1}
        assert found["queuesite_sqs_requests_total"] == {
            ("listen", "orders"): 2,
            ("sweep", "orders"): 1,
            ("unknown", "orders"): 9,
        }
        buckets = found["queuesite_handler_seconds_bucket"]
        assert (buckets["0.01", "orders"], buckets["0.25", "orders"], buckets["300.0", "orders"]) == (1, 2, 2)
        assert buckets["+Inf", "orders"] == found["queuesite_handler_seconds_count"][("orders",)] == 3
        assert found["queuesite_handler_seconds_sum"][("orders",)] == pytest.approx(400.21)
        waiting = found["queuesite_wait_seconds_bucket"]
        hours = [waiting[bound, "orders"] for bound in ("0.1", "0.25", "3600.0", "14400.0", "+Inf")]
        assert hours == [0, 1, 1, 2, 2]
        assert found["queuesite_wait_seconds_sum"][("orders",)] == pytest.approx(7_000.2)
        assert found["queuesite_queues"][("active",)] == 1
        assert found["queuesite_queues"][("unserved",)] == 0
        assert set(found["queuesite_queue_unserved"].values()) == {0}
        names = ("queuesite_workers", "queuesite_capacity", "queuesite_capacity_used")
        assert [found[name][()] for name in names] == [1, 5, 1]
        assert found["queuesite_slots"] == {("default",): 5}
        assert found["queuesite_slots_wanted"] == {("default",): 0, ("gpu",): 3}
        assert found["queuesite_leader"] == {("m1",): 1}
        assert 70 <= found["queuesite_sweep_lag_seconds"][()] < 100

    def test_queues_that_no_worker_can_serve(self) -> None:
        records.register(has={"log": "1"})
        records.define("orders")
        records.define("lost", handler="resize")
        found = self.parsed()
        assert found["queuesite_queue_unserved"] == {("lost",): 1, ("orders",): 0}
        assert found["queuesite_queues"][("unserved",)] == 1

    def test_many_queues_make_one_histogram(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics, "_AT_ONCE", 2)
        throughput.add([row(records.define(f"q{n}"), this_minute(), 0.1) for n in range(5)])

        assert len(self.parsed()["queuesite_handler_seconds_count"]) == 5
        assert metrics.text().count(b"# TYPE queuesite_handler_seconds histogram") == 1

    def test_counters_outlive_the_minutes(self) -> None:
        throughput.add([row(records.define(), this_minute(), 0.1)])
        collection(Throughput).delete_many({"minute": {"$ne": None}})  # as the TTL does after a week

        assert self.parsed()["queuesite_messages_processed_total"] == {("orders",): 1}

    def test_queue_that_is_gone_is_gone(self) -> None:
        gone = records.define("gone")
        throughput.add([row(gone, this_minute(), 0.1)])
        from queues import repository

        repository.delete(gone.id)

        assert "queuesite_messages_processed_total" not in self.parsed()

    def test_by_the_api(self) -> None:
        answer = everything().request("GET", "/metrics")

        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "queuesite_workers 0.0" in answer.text
