"""A shop's Django project, in which tasks are enqueued."""
