"""The code of the release before, from this repository's history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from tests.support.processes import ROOT

VERSION = "0.9.0"
#: The commit of its tag: a clone may have the history without the tags.
COMMIT = "9d594b492aa65aeef4c92792e495044a4fc5cfda"


def extract(directory: Path) -> str | None:
    """Write its files into a directory. Returns why that cannot be done, if the history lacks it."""
    for name in (f"v{VERSION}", COMMIT):
        done = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=False)
        if done.returncode == 0:
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
                files.extractall(directory, filter="data")
            return None
    return f"this clone has neither the tag v{VERSION} nor the commit {COMMIT[:12]}: {done.stderr.decode().strip()}"
