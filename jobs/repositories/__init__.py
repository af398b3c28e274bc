"""Reads and writes of the collections of processing: one module per collection, one function per transition.

The filter of every write names the document by `_id` and carries the state and owner that the caller expects. If
nothing matches, `StaleTransition` is raised and the caller drops what it was doing. Dates are the database server's.
pymongo's errors pass through: loops survive them, doors translate them.
"""
