"""Who processes the queues: masters, workers, consumers, and the records of their runs."""
