"""The pages of queues and of what processes them: jobs, failures, handlers, workers, masters, notices.

Each module registers its own.
"""

from jobs.admin import attempts, events, failures, handlers, jobs, masters, notices, queues, workers  # noqa: F401
