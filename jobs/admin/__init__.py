"""The pages of queues and of what processes them: jobs, failures, workers, masters."""

from jobs.admin import failures, jobs, masters, queues, workers  # noqa: F401  # each registers its pages
