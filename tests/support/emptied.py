"""An empty MongoDB for a test, or for all tests of a file."""

from __future__ import annotations

from typing import Any

from django.apps import apps

from queuesite.foundation.databases import MONGO_APPS, collection, database


def empty_mongodb() -> None:
    """Empty every collection of ours."""
    models = [model for label in MONGO_APPS for model in apps.get_app_config(label).get_models()]
    first, *others = (model._meta.db_table for model in models)

    def one_of(name: str) -> list[dict[str, Any]]:
        return [{"$limit": 1}, {"$project": {"_id": 0, "name": {"$literal": name}}}]

    # One question for the few that are not empty, since most tests fill one or two.
    unions = [{"$unionWith": {"coll": name, "pipeline": one_of(name)}} for name in others]
    full = {found["name"] for found in database()[first].aggregate([*one_of(first), *unions])}
    for model in models:
        if model._meta.db_table in full:
            collection(model).delete_many({})
