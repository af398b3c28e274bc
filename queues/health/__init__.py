"""What is wrong with a queue: one model, which pages, API, command line and metrics share.

`limits` has the thresholds, `attempts` the count of the last minutes' attempts, `rules` all that can be wrong, each
with its rule, its words and its remedy.
"""
