"""Eight processes assign the same fifty queues at once: the unique index lets each queue be assigned once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from jobs.models import JobStatus
from jobs.repositories import assignments
from tests.support.background import Background, running
from tests.support.records import all_jobs, define
from tests.support.waiting import eventually

PROCESSES, QUEUES = 8, 50

#: Assigns every queue to a worker of its own in batches, as a master does, as soon as the file "go" is there.
ASSIGN = """
import json, os, pathlib, time
from jobs.repositories import assignments, jobs
from jobs.repositories.assignments import NewAssignment
from jobs.repositories.jobs import Processor
from queues import repository

number, directory = int(os.environ["RACER"]), pathlib.Path(os.environ["RACE"])
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


def racer(directory: Path, number: int) -> Background:
    environment = {"RACER": str(number), "RACE": str(directory), "LOG_LEVEL": "WARNING"}
    return Background(directory, f"racer-{number}", "shell", "-v", "0", "-c", ASSIGN, env=environment)


@pytest.mark.usefixtures("mongo")
def test_each_queue_is_assigned_exactly_once(tmp_path: Path) -> None:
    queues = [define(f"queue-{number}") for number in range(QUEUES)]
    racers = [racer(tmp_path, number) for number in range(PROCESSES)]
    with running(*racers):
        eventually(lambda: len(list(tmp_path.glob("ready-*"))) == PROCESSES, 60, "all processes are at the start")
        (tmp_path / "go").touch()
        assert [process.process.wait(60) for process in racers] == [0] * PROCESSES
        won = [json.loads(process.output()) for process in racers]

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
