"""`manage.py runweb`: the web server."""

from __future__ import annotations

import os
from typing import Any

import uvicorn

from queuesite.commands import QueuesiteCommand
from queuesite.config import get_config
from queuesite.private import UMASK
from queuesite.server import DeadlineProtocol

#: How long requests in flight may take when the server is asked to stop.
GRACE_SECONDS = 5


class Command(QueuesiteCommand):
    """Uvicorn with the site's own logs; any other ASGI or WSGI server works as well."""

    help = "Run the web server (admin and API) on WEB_HOST and WEB_PORT; it is fit for production."

    quiet = False

    def run(self, **options: Any) -> None:
        """Serve until SIGINT or SIGTERM."""
        config = get_config()
        os.umask(UMASK)
        uvicorn.run(
            "queuesite.asgi:application",
            host=config.web_host,
            port=config.web_port,
            lifespan="off",
            log_config=None,
            proxy_headers=config.behind_tls_proxy,
            forwarded_allow_ips=list(config.trusted_proxies),
            http=DeadlineProtocol,
            limit_concurrency=config.web_max_connections,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
