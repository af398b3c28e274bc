"""Management of queues."""
