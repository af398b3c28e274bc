"""The foundation of every part: configuration, errors, databases, clocks, logs. It imports nothing else of ours."""
