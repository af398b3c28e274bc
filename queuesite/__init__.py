"""The site: configuration, settings, databases, embedded servers, errors, clock, logs."""
