"""Reads and writes of the collections of processing: one module a collection, one function a transition.

The filter of every write names the document by `_id` and carries the state and owner that the caller expects; where
nothing matches, `StaleTransition` is raised and the caller drops what it was doing. Dates are the database server's.
pymongo's errors go through: loops live with them.
"""
