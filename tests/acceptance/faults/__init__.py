"""The promises of docs/guarantees.md, each in a file of its own, under the faults that could break it."""
