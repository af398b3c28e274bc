"""Django's backend for MongoDB is imported without starting programs."""

from __future__ import annotations

import ctypes.util
import importlib
import subprocess
import sys

import pytest

#: What is imported at the first connection, and what looks for GDAL.
IMPORTED = ("queuesite.foundation.mongodb.base", "django_mongodb_backend.base", "django_mongodb_backend.features")
SEARCHING = ("django_mongodb_backend.gis", "django.contrib.gis")


def test_nothing_is_started_to_look_for_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {name: module for name, module in sys.modules.items() if name in IMPORTED or name.startswith(SEARCHING)}
    for name in loaded:
        package, _, own = name.rpartition(".")
        if package in sys.modules:  # one whose import fails goes, and leaves its parts
            monkeypatch.delattr(sys.modules[package], own, raising=False)
        monkeypatch.delitem(sys.modules, name)
    find = ctypes.util.find_library
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **options: started.append(arguments))

    backend = importlib.import_module("queuesite.foundation.mongodb.base")

    assert backend.DatabaseWrapper.vendor == "mongodb"
    assert "django_mongodb_backend.features" in sys.modules
    assert started == []
    assert ctypes.util.find_library is find
