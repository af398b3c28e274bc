"""Eight processes assign the same fifty queues at once: the unique index lets each queue be assigned once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.models import JobStatus
from jobs.repositories import assignments
from tests.support.processes import ROOT
from tests.support.records import all_jobs, define
from tests.support.waiting import eventually

PROCESSES, QUEUES = 8, 50

#: Assigns every queue to a worker of its own in batches, as a master does, as soon as the file "go" is there.
ASSIGN = """
import json, pathlib, sys, time
import django
django.setup()
from jobs.repositories import assignments, jobs
from jobs.repositories.assignments import NewAssignment
from jobs.repositories.jobs import Processor
from queues import repository

number, directory = int(sys.argv[1]), pathlib.Path(sys.argv[2])
queues = repository.all_queues()
names = {queue.id: queue.name for queue in queues}
(directory / f"ready-{number}").touch()
while not (directory / "go").exists():
    time.sleep(0.001)
made = []
for first in range(0, len(queues), 5):
    wanted = [NewAssignment(q.queue_url, q.id, 0, f"worker-{number}") for q in queues[first : first + 5]]
    part = assignments.insert_many(wanted, term=number + 1)
    jobs.create_many((a, names[a.queue_id], Processor(a.worker, "host", 1)) for a in part)
    made += part
print(json.dumps([[str(a.id), a.queue_url] for a in made]))
"""


@contextmanager
def racers(directory: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASSIGN, str(number), str(directory)],
            cwd=ROOT,
            env=os.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("mongo")
def test_each_queue_is_assigned_exactly_once(tmp_path: Path) -> None:
    queues = [define(f"queue-{number}") for number in range(QUEUES)]
    with racers(tmp_path) as processes:
        eventually(lambda: len(list(tmp_path.glob("ready-*"))) == PROCESSES, 60, "all processes are at the start")
        (tmp_path / "go").touch()
        won = [json.loads(process.communicate(timeout=60)[0]) for process in processes]

    present = assignments.all_assignments()
    assert Counter(a.queue_url for a in present) == {queue.queue_url: 1 for queue in queues}
    # What each was told that it had made is what there is: nobody was told to have won what another did.
    assert sorted(assignment for part in won for assignment, _ in part) == sorted(str(a.id) for a in present)
    for number, part in enumerate(won):
        mine = {str(a.id) for a in present if a.worker == f"worker-{number}"}
        assert {assignment for assignment, _ in part} == mine
    jobs = all_jobs()
    assert {job.id for job in jobs} == {a.job_id for a in present}
    assert {job.status for job in jobs} == {JobStatus.QUEUED}
