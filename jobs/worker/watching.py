"""Which changes in MongoDB concern a worker."""

from __future__ import annotations

from queuesite.databases import Document


def pipeline(worker_id: str) -> list[Document]:
    """What lets through changes of this worker's assignments, of settings of queues, and the order to drain."""
    mine = {
        "ns.coll": "assignments",
        "$or": [
            {"operationType": "insert", "fullDocument.worker": worker_id},
            {"operationType": "delete"},
            {"operationType": "update", "updateDescription.updatedFields.yieldRequestedAt": {"$exists": True}},
        ],
    }
    drain = {
        "ns.coll": "workers",
        "documentKey._id": worker_id,
        "updateDescription.updatedFields.draining": True,
    }
    settings = {"ns.coll": "queues", "updateDescription.updatedFields.updatedAt": {"$exists": True}}
    return [{"$match": {"$or": [mine, settings, drain]}}]
