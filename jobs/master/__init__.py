"""The master: finds the queues that have messages and assigns each to the least loaded worker."""
