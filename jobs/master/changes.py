"""The changes in MongoDB that concern a master."""

from __future__ import annotations

#: Changes that remove indexes: after one the leader begins as at the start of a term.
LOSSES = ("drop", "dropDatabase", "rename")
_WATCHED_FIELDS = ("updatedAt", "wakeRequestedAt", "servedUntil")
PIPELINE = [
    {
        "$match": {
            "$or": [
                {"ns.coll": "queues", "operationType": {"$in": ["insert", "delete", "replace"]}},
                *(
                    {"ns.coll": "queues", f"updateDescription.updatedFields.{name}": {"$exists": True}}
                    for name in _WATCHED_FIELDS
                ),
                {"operationType": {"$in": [*LOSSES]}},
                {"ns.coll": "assignments", "operationType": "delete"},
                {"ns.coll": "workers", "operationType": {"$in": ["insert", "delete"]}},
                {"ns.coll": "workers", "updateDescription.updatedFields.draining": {"$exists": True}},
                {"ns.coll": "leases", "updateDescription.updatedFields.holder": {"$exists": True}},
            ]
        }
    }
]
