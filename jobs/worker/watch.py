"""What a worker hears of changes in MongoDB: of its assignments, its listener's queues, settings, and when to drain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bson import ObjectId

from jobs.worker.listening import WorkerListening
from queuesite.foundation.changes import ChangeWatcher, WakeupPipe
from queuesite.foundation.databases import Document

#: Of a queue: its settings, and what keeps its messages from being received.
_WATCHED_FIELDS = ("updatedAt", "notBefore", "troubledUntil")


class Watch:
    """Notes what changed, and wakes the worker's loop. The loop reads what is due, and resets the flags."""

    def __init__(
        self,
        wakeup: WakeupPipe,
        is_mine: Callable[[ObjectId], bool],
        is_processed: Callable[[ObjectId], bool],
        listening: WorkerListening,
    ) -> None:
        """`is_mine` answers for an assignment's id, `is_processed` for a queue's; both are called in a thread.

        `listening` gets what changes for the listener.
        """
        self._wakeup = wakeup
        self._is_mine = is_mine
        self._is_processed = is_processed
        self._listening = listening
        self._watcher: ChangeWatcher | None = None
        #: The assignments, or the settings of queues that are being processed, are to be read.
        self.assignments_due = True
        self.settings_due = False
        #: The worker was asked to drain.
        self.drain_asked = False
        #: What else is wanted of it is to be read.
        self.wanted_due = False

    @property
    def live(self) -> bool:
        """Whether changes are reported; otherwise the worker polls."""
        return self._watcher is not None and self._watcher.live

    def start(self, worker_id: str) -> None:
        """Watch for the worker of this id from now on."""
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = ChangeWatcher(pipeline(worker_id), self._on_change, self.read_all)
        self._watcher.start()

    def stop(self) -> None:
        """Have the thread end."""
        if self._watcher is not None:
            self._watcher.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended, or was never started."""
        return self._watcher is None or self._watcher.join(timeout)

    def read_all(self) -> None:
        """Have everything read: some changes may have been missed."""
        self.assignments_due = self.settings_due = self.wanted_due = True
        self._listening.changed()
        self._wakeup.wake()

    def _on_change(self, change: dict[str, Any]) -> None:
        # In the watcher's thread, so it only sets flags and wakes the loop.
        if change["ns"]["coll"] == "queues":
            queue_id = change["documentKey"]["_id"]
            listened = self._listening.holds(queue_id)
            if listened:
                self._listening.changed(queue_id)
            if self._is_processed(queue_id):
                self.settings_due = True
            elif not listened:
                return
        elif change["ns"]["coll"] == "listening":
            if change["operationType"] == "delete" and not self._listening.has_entry(change["documentKey"]["_id"]):
                return
            self._listening.changed()
        elif change["ns"]["coll"] == "workers":
            if "draining" in change["updateDescription"]["updatedFields"]:
                self.drain_asked = True
            else:
                self.wanted_due = self.assignments_due = True
        elif change["operationType"] == "delete" and not self._is_mine(change["documentKey"]["_id"]):
            return
        else:
            self.assignments_due = True
        self._wakeup.wake()


def pipeline(worker_id: str) -> list[Document]:
    """Lets through changes of this worker's assignments, of what it listens to, of queues, and what is wanted of it."""
    mine = {
        "ns.coll": "assignments",
        "$or": [
            {"operationType": "insert", "fullDocument.worker": worker_id},
            {"operationType": "delete"},
            {"operationType": "update", "updateDescription.updatedFields.yieldRequestedAt": {"$exists": True}},
        ],
    }
    wanted = {
        "ns.coll": "workers",
        "operationType": "update",
        "documentKey._id": worker_id,
        "$or": [
            {"updateDescription.updatedFields.draining": True},
            {"updateDescription.updatedFields.wantedCapacity": {"$exists": True}},
        ],
    }
    listening = {
        "ns.coll": "listening",
        "$or": [{"operationType": "insert", "fullDocument.worker": worker_id}, {"operationType": "delete"}],
    }
    settings = {
        "ns.coll": "queues",
        "$or": [
            {"operationType": {"$in": ["delete", "replace"]}},
            *({f"updateDescription.updatedFields.{name}": {"$exists": True}} for name in _WATCHED_FIELDS),
        ],
    }
    return [{"$match": {"$or": [mine, listening, settings, wanted]}}]
