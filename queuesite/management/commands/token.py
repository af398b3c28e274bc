"""`manage.py token`: manages the API's tokens."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from queuesite import tokens
from queuesite.foundation.clock import rfc3339
from queuesite.foundation.commands import Parser, QueuesiteCommand, integer
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_errors
from queuesite.foundation.home import PROGRAM
from queuesite.models import Token


def days(text: str) -> int | None:
    """An argparse type: days, or None for `never`."""
    return None if text == "never" else integer(*tokens.EXPIRY_DAYS)(text)


class Command(QueuesiteCommand):
    """Subcommands that create, list and revoke tokens."""

    help = "Manage the API's tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
        create = verbs.add_parser("create", help="create a token and print it; it cannot be shown again")
        create.add_argument("user", metavar="USER", help="the user whose permissions the token has")
        create.add_argument("--read-only", action="store_true", help="allow only GET requests")
        create.add_argument(
            "--expires",
            metavar="DAYS",
            type=days,
            default=get_config().token_days,
            help="number of days until it expires, or `never` (default: TOKEN_DAYS)",
        )
        create.add_argument("--name", metavar="TEXT", default="", help="a note on what the token is for")
        listing = verbs.add_parser("list", help="list the tokens")
        listing.add_argument("--json", action="store_true", help="print JSON")
        revoke = verbs.add_parser("revoke", help="revoke a token at once")
        revoke.add_argument("prefix", metavar="PREFIX", help="the token's prefix, as `token list` shows it")

    def run(self, **options: Any) -> None:
        """Run the verb."""
        with database_errors():
            getattr(self, "do_" + options["verb"])(options)

    def do_create(self, options: dict[str, Any]) -> None:
        """Print only the token to standard output, so that a script can read it, and the rest to standard error."""
        token, text = tokens.create(
            options["user"], read_only=options["read_only"], expires_days=options["expires"], name=options["name"]
        )
        self.stdout.write(text)
        kind = "read-only token" if token.read_only else "token"
        until = "never expires" if token.expires_at is None else f"expires {rfc3339(token.expires_at)}"
        self.stderr.write(f"{kind} {token.prefix} of {token.user}, {until}; it cannot be shown again")

    def do_list(self, options: dict[str, Any]) -> None:
        """Print every token, as a table or as JSON."""
        found = tokens.all_tokens()
        if options["json"]:
            self.print_json([as_json(token) for token in found])
        elif not found:
            self.say(f"there are no tokens; create one with `{PROGRAM} token create USER`")
        else:
            self.print_table(
                ("prefix", "user", "name", "access", "state", "created", "expires", "last used"),
                (
                    (
                        token.prefix,
                        token.user,
                        token.name,
                        "read" if token.read_only else "read and write",
                        token.state,
                        *(m and rfc3339(m) for m in (token.created_at, token.expires_at, token.last_used_at)),
                    )
                    for token in found
                ),
            )

    def do_revoke(self, options: dict[str, Any]) -> None:
        """Revoke a token."""
        token = tokens.revoke(options["prefix"])
        self.say(f"token {token.prefix} of {token.user} revoked")


def as_json(token: Token) -> dict[str, Any]:
    """A token as `token list --json` prints it."""
    return {
        "prefix": token.prefix,
        "user": token.user.get_username(),
        "name": token.name,
        "readOnly": token.read_only,
        "state": token.state,
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "revokedAt": token.revoked_at,
    }
