"""Real processes on the embedded servers."""
