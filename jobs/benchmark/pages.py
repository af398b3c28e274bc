"""What the admin's pages cost with many queues: the time to the first byte, and MongoDB's CPU for refreshes."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.core.management import call_command
from django.urls import reverse

from jobs.benchmark.fleet import process, until
from jobs.benchmark.report import Figure, at_most, ms
from jobs.benchmark.traffic import Traffic, fill
from jobs.benchmark.viewer import EVERY, Viewer, log_in
from queues.models import Queue
from queuesite.foundation.databases import database

#: How often each page is opened, after once for what a process computes once.
OPENED = 5
MANY_VIEWERS = 10


@dataclass(frozen=True)
class Page:
    """A page's seconds to the first byte: when the web server has just started, and the median of later ones."""

    name: str
    first: float
    later: float


@dataclass(frozen=True)
class Watched:
    """MongoDB's share of a core for the refreshes of one viewer and of ten, and the median bytes of a refresh.

    The shares are None if MongoDB does not run on this machine.
    """

    name: str
    alone: float | None
    together: float | None
    size: float


@dataclass(frozen=True)
class Pages:
    """What was measured."""

    queues: int
    pages: list[Page]
    watched: list[Watched]


def measure(count: int, directory: Path, watch: float, step: Callable[..., None]) -> Pages:
    """Measure the pages with `count` queues, which only MongoDB knows; `watch`: seconds that its CPU is watched."""
    call_command("migrate", verbosity=0)
    step(f"records of {count:,} queues")
    queues = fill(count, lambda _: None)
    cookie, port = log_in(), _free_port()
    traffic = Traffic(queues)
    traffic.start()
    try:
        with process(directory, "runweb", web_port=port, web_host="127.0.0.1"):
            until(lambda: _answers(port), "the web server answers", 0.1)
            addresses = _addresses(queues[0])
            step("first bytes")
            pages = [_opened(Viewer(port, cookie), name, path) for name, path in addresses.items()]
            watched = []
            for name in ("overview", "queues"):
                step(f"refreshes: {name}; this takes {3 * watch:g} s")
                watched.append(_watched(port, cookie, addresses[name], name, watch))
    finally:
        traffic.stop()
    return Pages(count, pages, watched)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _addresses(queue: Queue) -> dict[str, str]:
    lists = {
        "queues": "queues_queue", "jobs": "jobs_job", "failures": "jobs_failure", "handlers": "jobs_handlerversion",
        "workers": "jobs_worker", "masters": "jobs_master", "background tasks": "queuesite_backgroundtask",
    }  # fmt: skip
    return {
        "overview": reverse("admin:index"),
        **{name: reverse(f"admin:{model}_changelist") for name, model in lists.items()},
        "queues by depth": reverse("admin:queues_queue_changelist") + "?sort=-visible",
        "queues by rate": reverse("admin:queues_queue_changelist") + "?sort=-rate",
        "failing queues": reverse("admin:queues_queue_changelist") + "?health=failing",
        "a queue": reverse("admin:queues_queue_change", args=[queue.name]),
        "settings of a queue": reverse("admin:queues_queue_settings", args=[queue.name]),
        "users": reverse("admin:auth_user_changelist"),
    }


def _answers(port: int) -> bool:
    try:
        Viewer(port, "").open(reverse("admin:login"))
    except OSError:
        return False
    return True


def _opened(viewer: Viewer, name: str, path: str) -> Page:
    first = viewer.open(path)
    return Page(name, first, statistics.median(viewer.open(path) for _ in range(OPENED)))


def _watched(port: int, cookie: str, path: str, name: str, seconds: float) -> Watched:
    mongodb = _mongodb()
    without = _share(mongodb, seconds)

    def with_viewers(viewers: int) -> tuple[float | None, list[int]]:
        return _share_with([Viewer(port, cookie) for _ in range(viewers)], path, lambda: _share(mongodb, seconds))

    alone, sizes = with_viewers(1)
    together, _ = with_viewers(MANY_VIEWERS)
    if without is None or alone is None or together is None:
        return Watched(name, None, None, statistics.median(sizes))
    return Watched(name, alone - without, together - without, statistics.median(sizes))


def _share_with(
    present: Sequence[Viewer], path: str, share: Callable[[], float | None]
) -> tuple[float | None, list[int]]:
    stopping = threading.Event()
    for viewer in present:
        viewer.open(path)
    threads = [
        threading.Thread(target=viewer.watch, args=(stopping, number * EVERY / len(present)), daemon=True)
        for number, viewer in enumerate(present)
    ]
    for thread in threads:
        thread.start()
    try:
        found = share()
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)
    return found, [size for viewer in present for size in viewer.sizes]


def _share(mongodb: psutil.Process | None, seconds: float) -> float | None:
    """MongoDB's share of a core over a while."""
    before, began = _cpu(mongodb), time.monotonic()
    time.sleep(seconds)
    after = _cpu(mongodb)
    return None if before is None or after is None else (after - before) / (time.monotonic() - began)


def _cpu(process: psutil.Process | None) -> float | None:
    if process is None:
        return None
    times = process.cpu_times()
    return float(times.user + times.system)


def _mongodb() -> psutil.Process | None:
    """The server's process, if it runs on this machine and belongs to us."""
    address = database().client.address
    if address is None or address[0] not in {"127.0.0.1", "::1", "localhost"}:
        return None
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == address[1] and one.pid is not None:
            return psutil.Process(one.pid)
    return None


def _percent(value: float) -> str:
    return f"{value:.0%}"


def figures(measured: Pages) -> list[Figure]:
    """The rows of the report."""
    n = f"{measured.queues:,} queues"
    found = []
    for page in measured.pages:
        found.append(at_most(f"{n}: first byte of {page.name}", page.later, 0.3, ms))
        found.append(Figure(f"{n}: the first after a start", page.first, ms(page.first)))
    for one in measured.watched:
        found.append(Figure(f"{n}: a refresh of {one.name}", one.size / 1000, f"{one.size / 1000:.1f} kB"))
        if one.alone is not None and one.together is not None:
            found.append(at_most(f"{n}: {one.name}, MongoDB's CPU for one viewer", one.alone, 0.15, _percent))
            found.append(at_most(f"{n}: {one.name}, for ten viewers", one.together, 0.30, _percent))
    return found
