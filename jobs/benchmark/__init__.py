"""Measurements of the system on the servers that it is configured for: `manage.py benchmark`."""
