"""The pages of what processes the queues: jobs, failures, workers, masters. Nobody but the system itself writes it."""

from jobs.admin import failures, jobs, masters, workers  # noqa: F401  # each registers its pages
