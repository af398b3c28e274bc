"""A cluster for the files of this directory that a test process runs one after the other.

Its processes are used again by the next test if they still run and have the settings that it wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # Not at run time: pytest may import this file before Django's settings are there.
    from tests.support.cluster import Cluster


@pytest.fixture(scope="package", autouse=True)
def connected_afterwards(mongo_database: None) -> Iterator[None]:
    """MongoDB is connected again for the tests after these: pytest-django lets none of them open a connection."""
    yield
    from queuesite.foundation.databases import check_mongodb

    check_mongodb()


@pytest.fixture(scope="package")
def shared(mongo_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from tests.support.cluster import Cluster

    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        with made.connected():
            yield made
    finally:
        made.close()


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The cluster, without faults, queues and records."""
    before = dict(shared.environment)
    shared.begin_anew()
    yield shared
    shared.environment = before
    shared.heal()
