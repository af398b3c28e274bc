"""The site: Django's settings and addresses, what the pages and the API of all apps share, and the foundation."""

#: The version, by semantic versioning; a release has the tag `v` + version. Only the chart repeats it.
__version__ = "1.0.0.dev0"
