"""The chaos run: `python -m tests.chaos --minutes 3 --seed 7`, and the measurement of failovers."""
