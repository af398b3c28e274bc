"""The API's root: who may ask, how errors are told, what is bounded. The resources: `queues.api`, `jobs.api`."""
