"""`manage.py invite`: creates a user with a role, and prints the link to set the password."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from queuesite import invitations
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_errors


class Command(QueuesiteCommand):
    """Needs no permission, as every command."""

    help = "Invite a user: create it with a role and print the link to set its password."

    def add_arguments(self, parser: CommandParser) -> None:
        config = get_config()
        here = f"http://{config.web_host}:{config.web_port}"
        parser.add_argument("user", metavar="USER", help="the name of the user to create")
        parser.add_argument(
            "--role", metavar="GROUP", default="viewers", help="the user's group, such as operators (default: viewers)"
        )
        parser.add_argument("--email", metavar="ADDRESS", default="", help="the user's e-mail address")
        parser.add_argument(
            "--site",
            metavar="URL",
            default=here,
            help="the site's address in the link (default: WEB_HOST and WEB_PORT)",
        )

    def run(self, **options: Any) -> None:
        """Print only the link to standard output, so that a script can read it, and the rest to standard error."""
        with database_errors():
            group = invitations.role(options["role"])
            user = invitations.invite(options["user"], group, email=options["email"])
            self.stdout.write(options["site"].rstrip("/") + invitations.path_for(user))
        self.stderr.write(
            f"user {user.get_username()!r} is one of the {group.name}; the link works once, within "
            f"{invitations.lifetime()}, and cannot be shown again"
        )
