"""A team's settings: Queuesite's, with an app and a database of the team's own."""

import os

from queuesite.settings import *  # noqa: F403

INSTALLED_APPS += ["stock"]  # noqa: F405
DATABASES["warehouse"] = {  # noqa: F405
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("WAREHOUSE", ":memory:"),
}
DATABASE_ROUTERS = ["stock.router.Router", *DATABASE_ROUTERS]  # noqa: F405
