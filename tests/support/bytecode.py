"""Compiles what has changed, once per run: otherwise each process of a run does it, all of them at the same time.

In a fresh clone, that takes three seconds of each process.
"""

from __future__ import annotations

import compileall
import fnmatch
import re

import pytest
from _pytest.assertion import rewrite

from tests.support.processes import ROOT


def compile_all(config: pytest.Config) -> None:
    """Compile our own modules, and the tests as pytest does."""
    for folder in ("queuesite", "queues", "jobs", "tests"):
        compileall.compile_dir(ROOT / folder, quiet=2, rx=re.compile(r"/(test_\w+|conftest)\.py$"))
    _compile_tests(config)


def _compile_tests(config: pytest.Config) -> None:
    """pytest has no public function for it."""
    state = config.stash[rewrite.assertstate_key]
    for path in (ROOT / "tests").rglob("*.py"):
        if not any(fnmatch.fnmatch(path.name, kind) for kind in ("test_*.py", "conftest.py")):
            continue
        folder = rewrite.get_cache_dir(path)
        cached = folder / (path.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(path, cached) is None and rewrite.try_makedirs(folder):
            source_hash, code = rewrite._rewrite_test(path, config)
            rewrite._write_pyc(state, code, source_hash, cached)
