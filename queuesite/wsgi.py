"""The WSGI application, for any WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

from queuesite.foundation import home
from queuesite.foundation.config import get_config

home.enter(home.home())
get_config()  # `.env` may name a team's own settings
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "queuesite.settings")

application = get_wsgi_application()
