"""What a program of this package does before Django's settings load: nothing of the developer's own is used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.support.environment import isolate


def set_up(prefix: str) -> Path:
    """Set Django up without servers, which a `Cluster` starts; answers a new directory for all that is written."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    isolate(os.environ)
    os.environ["DJANGO_SETTINGS_MODULE"] = "queuesite.settings"
    os.environ["DATA_DIR"] = str(directory / "data")
    os.environ["MONGODB_URI"] = "mongodb://127.0.0.1:1/?w=1"  # of nobody, until the cluster has its own
    import django

    django.setup()
    return directory


def say(line: str) -> None:
    """Print a line at once, into a pipe too."""
    print(line, flush=True)  # noqa: T201
