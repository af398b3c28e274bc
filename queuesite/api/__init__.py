"""The API's root: authentication, errors, limits. The resources are in `queues.api` and `jobs.api`."""
