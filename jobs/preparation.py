"""What `manage.py up` does before the system starts, and how it reports that everything has started."""

from __future__ import annotations

import http.client
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command

from jobs import status
from jobs.indexes import ensure_indexes
from queues import services
from queues.sqs import get_gateway
from queuesite.foundation.config import Config
from queuesite.foundation.databases import MONGO, check_mongodb, database_errors, wait_for
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.private import kept_secret
from queuesite.foundation.quantities import plural

Say = Callable[[str], None]

ADMIN = "admin"
DEMO_QUEUE = "demo"
DEMO_OPTIONS = {"min_seconds": 0.2, "max_seconds": 1.0}

#: How often readiness is looked at, and how often what is missing is said, in seconds.
CHECK_INTERVAL = 0.25
REPORT_INTERVAL = 4.0


def password_path(config: Config) -> Path:
    """Where the generated password of the admin is kept (mode 0600)."""
    return config.data_dir / "admin-password"


def prepare(config: Config, say: Say, *, show_password: bool = False) -> None:
    """Make both databases ready, and an admin and a queue if there are none. May be run any number of times.

    `show_password`: say a new admin's password, and not only where it is kept.
    Waits for servers that do not answer yet, STARTUP_WAIT_SECONDS at most. Raises `ServerError`.
    """
    wait_for(check_mongodb, "MongoDB", config.startup_wait_seconds)
    wait_for(lambda: get_gateway().check(), "SQS", config.startup_wait_seconds)
    say("preparing the databases")
    with database_errors():
        call_command("migrate", database="default", interactive=False, verbosity=0)
        _make_admin(config, say, show_password)
    call_command("migrate", database=MONGO, interactive=False, verbosity=0)
    ensure_indexes()
    _make_demo_queue(config, say)


def announce(config: Config, say: Say) -> None:
    """Say where the admin is once all parts are ready; until then, say from time to time what is not."""
    began = time.monotonic()
    next_report = began + REPORT_INTERVAL
    while missing := _missing(config):
        if time.monotonic() >= next_report:
            say(f"not ready yet after {time.monotonic() - began:.0f} s: {', '.join(missing)}")
            next_report += REPORT_INTERVAL
        time.sleep(CHECK_INTERVAL)
    password = _password(config)  # a hash that takes a while, and the lines belong together
    say("ready")
    say(f"  admin     {web_address(config)}/admin/")
    say(f"  user      {ADMIN}")
    say(f"  password  {password}")
    say("stop it with Ctrl-C")


def web_address(config: Config) -> str:
    """The web server's address as a browser on this machine reaches it."""
    return f"http://{_reachable_host(config)}:{config.web_port}"


def _make_admin(config: Config, say: Say, show_password: bool) -> None:
    users = get_user_model()
    if not users.objects.filter(username=ADMIN).exists():
        password = kept_secret(password_path(config), lambda: secrets.token_urlsafe(15))
        users.objects.create_superuser(username=ADMIN, password=password)
        shown = f"the password {password}, which" if show_password else "a password, which"
        say(f"created the user {ADMIN} with {shown} is kept in {password_path(config)}")


def _make_demo_queue(config: Config, say: Say) -> None:
    # Nobody asked for a queue in an AWS account, which is shared and billed.
    if config.on_aws or services.list_queues():
        return
    services.create(DEMO_QUEUE, settings={"handler": "simulate", "handler_options": DEMO_OPTIONS})
    say(f"created the queue {DEMO_QUEUE}; send messages with `{PROGRAM} sqs send {DEMO_QUEUE} 100`")


def _missing(config: Config) -> list[str]:
    missing = []
    if not status.ready(config.worker_instances):
        count = config.worker_instances
        missing.append(f"master and {plural(count, 'worker')}")
    if not _web_answers(config):
        missing.append("web server")
    return missing


def _web_answers(config: Config) -> bool:
    connection = http.client.HTTPConnection(_reachable_host(config).strip("[]"), config.web_port, timeout=5)
    try:
        connection.request("GET", "/admin/login/")
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable_host(config: Config) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.web_host, config.web_host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _password(config: Config) -> str:
    path = password_path(config)
    user = get_user_model().objects.filter(username=ADMIN).first()
    if path.exists() and user is not None and user.check_password(path.read_text()):
        return f"in {path}"
    return "the one that you chose"
