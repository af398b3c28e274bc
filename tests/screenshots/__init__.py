"""A shop whose queues are shown in the documentation: `python -m tests.screenshots` takes its pictures."""
