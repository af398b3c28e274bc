"""The ASGI application, for any ASGI server."""

import os

from django.core.asgi import get_asgi_application

from queuesite.foundation import home
from queuesite.foundation.config import get_config

home.enter(home.home())
get_config()  # `.env` may name a team's own settings
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "queuesite.settings")

django_application = get_asgi_application()

# They need the settings, so they are imported only now.
from queuesite.bodies import BoundedBodies  # noqa: E402
from queuesite.memory import share_one_heap  # noqa: E402

share_one_heap()
application = BoundedBodies(django_application)
