"""What every part stands on: configuration, errors, databases, clocks, logs. It imports nothing else of ours."""
