"""The site: Django's settings and addresses, what the pages and the API of all apps share, and the foundation."""
