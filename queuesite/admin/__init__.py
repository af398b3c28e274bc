"""The site's own pages: tokens, background tasks, users, and the log of what was done here."""

from queuesite.admin import log, people, tasks, tokens  # noqa: F401  # each registers its pages
