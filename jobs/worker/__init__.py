"""The worker: takes its assignments from MongoDB and has a pool of consumer processes carry them out."""
