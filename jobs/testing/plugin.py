"""The fixtures of `jobs.pytest_plugin`, for a clone: `pytest_plugins = ["jobs.testing.plugin"]`."""

from jobs.pytest_plugin import queue_sandbox as queue_sandbox
