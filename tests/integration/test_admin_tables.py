"""The table of all lists: whose columns the viewer chooses, and by what queues are sorted, counted and summed up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from jobs import reads, statistics
from jobs.admin.queues.columns import QUEUES
from jobs.models import Job, JobStatus
from jobs.repositories import throughput
from queues import repository
from queues.sqs import Depth
from queuesite.foundation.config import BASE_DIR
from queuesite.foundation.databases import collection, database_clock
from queuesite.templatetags.cells import cut, link
from tests.support.api import user
from tests.support.pages import rows
from tests.support.records import define, queued, register

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

LIST = reverse("admin:queues_queue_changelist")
LONG = "production-eu-west-1-invoices-of-customers-with-a-very-long-name-for-their-queue"


def names(client: Client, **query: str) -> list[str]:
    return [row["name"] for row in rows(client.get(LIST, query))]


def headings(client: Client) -> list[str]:
    return [heading.column.name for heading in client.get(LIST).context["table"].headings]


USUAL = [column.name for column in QUEUES.columns if column.usual]


class TestColumns:
    def test_each_viewer_chooses_and_may_return_to_the_usual_ones(self, admin_client: Client) -> None:
        define()
        assert headings(admin_client) == USUAL
        choose = admin_client.get(LIST, {"sort": "-rate"}).context["table"].choose
        answer = admin_client.post(choose, {"column": ["worker", "visible"]})
        assert answer.headers["Location"] == f"{LIST}?sort=-rate"
        assert headings(admin_client) == ["name", "visible", "worker"]  # in the list's order, behind the name

        other = Client()
        kept = {name: one.value for name, one in admin_client.cookies.items() if name.startswith("columns")}
        other.cookies = SimpleCookie(kept)
        other.force_login(user("other", ["queues.view_queue"], is_staff=True))
        assert [name for name in USUAL if name != "job"] == headings(other)

        admin_client.post(choose, {"usual": "1"})
        assert headings(admin_client) == USUAL

    @pytest.mark.parametrize("chosen", [[], ["nothing"], ["<script>", "a;b", "job"], ["x" * 5_000]])
    def test_whatever_is_chosen_the_name_is_shown_and_nothing_that_is_no_column(
        self, admin_client: Client, chosen: list[str]
    ) -> None:
        admin_client.post(reverse("admin:columns", args=["queues"]), {"column": chosen})
        define()
        assert headings(admin_client) == ["name", *(["job"] if "job" in chosen else [])]

    def test_a_column_needs_its_permission(self, client: Client) -> None:
        define()
        client.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
        client.post(reverse("admin:columns", args=["queues"]), {"column": ["job", "visible"]})
        assert headings(client) == ["name", "visible"]

    def test_nobody_is_led_to_another_site(self, admin_client: Client) -> None:
        for elsewhere in ("//evil.example/", "https://evil.example/", "evil"):
            answer = admin_client.post(f"{reverse('admin:columns', args=['queues'])}?next={elsewhere}")
            assert answer.headers["Location"] == reverse("admin:index")

    def test_what_is_not_shown_is_not_read(self, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        define()
        read: list[Sequence[str]] = []
        monkeypatch.setattr(throughput, "minutes_of", lambda *args: [*map(read.append, [args[3:]])][:0])
        admin_client.post(reverse("admin:columns", args=["queues"]), {"column": ["visible"]})
        admin_client.get(LIST)
        assert not read


class TestOrder:
    def test_by_what_was_done_lately(self, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Queues without a figure come last in both directions, and pages go on."""
        monkeypatch.setattr("jobs.admin.queues.listing.PAGE", 2)
        minute = database_clock.now().replace(second=0, microsecond=0) - timedelta(minutes=1)
        busy, slow, failing = (define(name) for name in ("busy", "slow", "failing"))
        define("idle")
        throughput.add(
            [
                throughput.Row(busy.id, "busy", minute, processed=500, durations=[500]),
                throughput.Row(slow.id, "slow", minute, processed=5, failed=1, durations=[0] * 10 + [6]),
                throughput.Row(failing.id, "failing", minute, processed=50, failed=50, durations=[0, 100]),
                # Too long ago to count.
                throughput.Row(slow.id, "slow", minute - timedelta(minutes=9), processed=9_000, failed=9_000),
            ]
        )
        figures = statistics.all_figures()
        assert figures == {**figures, **statistics.figures([busy, slow, failing])}
        assert figures[busy.id].rate == 100
        assert figures[failing.id].failed == 0.5

        def ordered(sort: str) -> list[str]:
            first = admin_client.get(LIST, {"sort": sort})
            second = admin_client.get(first.context["older"])
            assert second.context["older"] is None
            return [row["name"] for page in (first, second) for row in rows(page)]

        assert ordered("-rate") == ["busy", "failing", "slow", "idle"]
        assert ordered("-failed") == ["failing", "slow", "busy", "idle"]
        assert ordered("failed") == ["busy", "slow", "failing", "idle"]
        assert ordered("-p95") == ["slow", "failing", "busy", "idle"]
        assert names(admin_client, sort="-p95", q="i") == ["failing", "idle"]
        for cursor in ("x", "-1", "9" * 30):
            assert admin_client.get(LIST, {"sort": "-rate", "cursor": cursor}).status_code == 200

    def test_by_the_age_of_the_oldest_message(self, admin_client: Client) -> None:
        now = database_clock.now()
        for name, minutes in (("young", 1), ("old", 90), ("middle", 30)):
            define(name, depth_visible=3, visible_since=now - timedelta(minutes=minutes))
        define("empty")
        assert names(admin_client, sort="-age") == ["old", "middle", "young", "empty"]
        assert names(admin_client, sort="age") == ["young", "middle", "old", "empty"]

    def test_headings_sort_numbers_downwards_first(self, admin_client: Client) -> None:
        define()
        table = admin_client.get(LIST, {"sort": "-rate"}).context["table"]
        found = {heading.column.name: heading for heading in table.headings}
        assert found["rate"].order == "descending"
        assert found["rate"].address == f"{LIST}?sort=rate"
        assert found["p95"].address == f"{LIST}?sort=-p95"
        assert found["name"].address == f"{LIST}?sort=name"
        assert found["health"].address is None


def test_states_are_tabs_with_their_counts_and_the_list_has_totals(admin_client: Client) -> None:
    for place in range(3):
        repository.observed({define(f"full-{place}").id: Depth(1_000, 5, 0)})
    define("held", paused=True)
    define("idle", dead_letters=2)
    page = admin_client.get(LIST)
    tabs = {tab.text: tab for tab in page.context["tabs"]}
    assert {text: tab.count for text, tab in tabs.items() if tab.count != "0"} == {
        "All": "5", **({"any problem": tabs["any problem"].count} if tabs["any problem"].count != "0" else {}),
        "waiting": "3", "paused": "1", "idle": "1",
    }  # fmt: skip
    assert tabs["All"].current
    assert page.context["table"].total == "5 queues: 3,000 visible, 15 in flight, 0 delayed, 2 dead letters"

    page = admin_client.get(f"{tabs['waiting'].address}&q=full-1")
    tabs = {tab.text: tab for tab in page.context["tabs"]}
    assert (tabs["waiting"].count, tabs["waiting"].current) == ("1", True)
    assert page.context["table"].total == "1 queue: 1,000 visible, 5 in flight, 0 delayed, 0 dead letters"


def test_statuses_of_jobs_are_tabs_and_counted_up_to_a_bound(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MOST_COUNTED", 3)
    queue = define()
    for slot in range(5):
        queued(queue, slot=slot)
    collection(Job).update_one({}, {"$set": {"status": JobStatus.FAILED.value}})
    tabs = admin_client.get(reverse("admin:jobs_job_changelist"), {"status": "failed"}).context["tabs"]
    counts = {tab.text: tab.count for tab in tabs}
    assert (counts["queued"], counts["failed"], counts["All"]) == ("3+", "1", "3+")
    assert [tab.text for tab in tabs if tab.current] == ["failed"]


def test_a_long_name_is_cut_for_the_eye_only() -> None:
    assert cut("orders") == "orders"
    shown = link(LONG, "/x/", "key")
    assert f'aria-label="{LONG}"' in shown
    assert f'title="{LONG}"' in shown
    assert f">{LONG[-8:]}<" in shown
    assert link("<b>", "/x/") == '<a class="qs-link" href="/x/">&lt;b&gt;</a>'
    assert "<b>" not in cut("<b>" * 30)


@pytest.mark.parametrize("page", ["jobs", "failures", "handlers", "workers", "masters", "tasks", "attempts", "events"])
def test_every_list_is_the_table(page: str, admin_client: Client) -> None:
    register("w1")
    table = admin_client.get(f"/admin/{page}/").context["table"]
    assert table.name == page
    assert len(table.choices) >= len(table.headings) - 1


def test_no_list_has_a_table_of_its_own() -> None:
    """What a browser shows of one list, such as that a reader's place survives updates, is so of all."""
    templates = Path(BASE_DIR, "templates")
    found = {path for path in templates.rglob("*.html") if "<table" in path.read_text(encoding="utf-8")}
    # The history of a record of Django's own is no list that changes.
    assert {str(path.relative_to(templates)) for path in found} == {
        "queuesite/_table.html",
        "admin/object_history.html",
    }
