"""Hand over messages that the listener brings: a consumer here handles them, or they are given back.

The worker claims their queue's assignment itself, and starts a consumer that begins with them. The unique index decides
if a master, or another worker, wants the same place.
"""

from __future__ import annotations

from collections.abc import Callable

from bson import ObjectId

from jobs.consumer.held import Batch
from jobs.listening import may_be_listened_to
from jobs.models import Assignment, Lease
from jobs.repositories import assignments, leases
from jobs.repositories.assignments import NewAssignment
from jobs.worker.recording import STEPS_PER_TURN
from jobs.worker.runs import Runs
from queues import repository as queues
from queues.models import Queue
from queuesite.foundation.databases import database_clock
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Begins an assignment of this worker, with what was received for it; whether its consumer has it now. Otherwise the
#: assignment was handed back.
Begin = Callable[[Assignment, Queue, Lease | None, tuple[Batch, ...]], bool]


class HandOver:
    """Batches on their way from the listener to a consumer. Nothing here waits."""

    def __init__(
        self,
        runs: Runs,
        begin: Begin,
        give_back: Callable[[Batch], None],
        free: Callable[[], int],
        serves: Callable[[Queue], bool],
    ) -> None:
        """`free` answers how many more consumers the worker may run now, `serves` whether it can process a queue."""
        self._runs = runs
        self._begin = begin
        self._return = give_back
        self._free = free
        self._serves = serves
        self.pending: list[Batch] = []
        #: Queues to be woken, since messages of theirs were given back.
        self._to_wake: set[ObjectId] = set()
        #: There is more to settle than one turn should.
        self.has_more = False

    @property
    def unsettled(self) -> bool:
        """Whether there is something to do in MongoDB."""
        return bool(self.pending or self._to_wake)

    @property
    def next_due(self) -> float:
        """When a batch has to be given back (monotonic clock)."""
        return min((batch.hand_over_by for batch in self.pending), default=float("inf"))

    def take(self, batch: Batch) -> None:
        """Hand a batch to the consumer that processes its queue here, or keep it for `settle`."""
        if not self._give(batch):
            self.pending.append(batch)

    def expire(self, now: float) -> None:
        """Give back what nobody took in time: MongoDB may be away. Needs no server."""
        for batch in [one for one in self.pending if now >= one.hand_over_by]:
            self._give_back(batch, "nobody took it in time")

    def give_all_back(self) -> None:
        """Give back everything: the worker ends, or is registered no longer."""
        for batch in list(self.pending):
            if not self._give(batch):
                self._give_back(batch, "the worker takes no more")

    def settle(self, worker_id: str) -> None:
        """Claim the assignments of what is pending, and wake the queues of what was given back.

        Raises pymongo's errors, and is then to be called again.
        """
        steps = 0
        self.has_more = False
        for batch in list(self.pending):
            if steps == STEPS_PER_TURN:
                self.has_more = True
                break
            if self._settle(batch, worker_id):
                steps += 1
                if batch in self.pending:
                    self.pending.remove(batch)
        if self._to_wake:
            queues.wake_many(list(self._to_wake))
            self._to_wake.clear()

    # --- one batch ---

    def _give(self, batch: Batch) -> bool:
        for run in self._runs.active.values():
            if run.queue.id == batch.queue_id and run.takes_messages:
                assert run.consumer is not None
                run.consumer.give(batch)
                return True
        return False

    def _give_back(self, batch: Batch, why: str, *, wake: bool = True) -> None:
        if batch in self.pending:
            self.pending.remove(batch)
        self._return(batch)
        if wake:
            self._to_wake.add(batch.queue_id)
        log.info("messages_given_back", queue_url=batch.queue_url, count=len(batch.messages), reason=why)

    def _settle(self, batch: Batch, worker_id: str) -> bool:
        """Whether the batch was handed over or given back. False: wait, since its queue's run here is about to end."""
        if self._give(batch):
            return True
        if any(run.queue.id == batch.queue_id for run in self._runs.active.values()):
            return False
        if self._free() <= 0:
            self._give_back(batch, "no consumer is free")
            return True
        queue = next(iter(queues.by_ids([batch.queue_id])), None)
        if queue is None or not self._serves(queue) or not may_be_listened_to(queue, database_clock.now()):
            # Whoever resumes a queue wakes it, and so does the end of its backoff.
            self._give_back(batch, "the queue is not to be processed here", wake=queue is not None and not queue.paused)
            return True
        lease = leases.current()
        assignment = None if lease is None else self._claim(queue, worker_id, lease)
        if assignment is None:
            self._give_back(batch, "the queue is processed elsewhere")
        elif assignment.id in self._runs.active:
            return False
        elif not self._begin(assignment, queue, leases.current(), (batch,)):
            self._give_back(batch, "the assignment was refused")
        return True

    def _claim(self, queue: Queue, worker_id: str, lease: Lease) -> Assignment | None:
        """An assignment of this worker for the queue, new or there already."""
        number = 0
        for _ in range(2):
            new = NewAssignment(queue.queue_url, queue.id, number, worker_id)
            claimed = assignments.claim(new, lease.term)
            if claimed is not None:
                log.info("queue_claimed", queue=queue.name, consumer=number, job_id=str(claimed.job_id))
                return claimed
            held = assignments.of_queue(queue.queue_url)
            mine = next((one for one in held if one.worker == worker_id), None)
            if mine is not None:
                return mine
            taken = {one.slot for one in held}
            number = next(n for n in range(len(taken) + 1) if n not in taken)
            if number >= queue.max_consumers:
                break
        return None
