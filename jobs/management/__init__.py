"""Commands of processing and queues."""
