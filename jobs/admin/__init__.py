"""The pages of queues and of what processes them: jobs, failures, handlers, workers, masters."""

from jobs.admin import attempts, events, failures, handlers, jobs, masters, queues, workers  # noqa: F401  # each registers its pages
