"""`manage.py showconfig`: shows every effective setting, and the addresses of the embedded servers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from pydantic import SecretStr

from queuesite.foundation.addresses import START_HINT, access_key_path, running
from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.config import Config, get_config, get_sources, mask
from queuesite.foundation.private import DATABASE

NOT_RUNNING = "not running"

#: The settings that mean an embedded server if they are empty, and the name of that server.
_EMBEDDED = {"mongodb_uri": "mongodb", "aws_sqs_endpoint": "sqs"}


@dataclass(frozen=True)
class Setting:
    """An effective setting. `value` is masked and may be shown to anybody."""

    name: str
    value: Any
    source: str
    description: str

    @property
    def text(self) -> str:
        """The value as it would be written in the environment."""
        return NOT_RUNNING if self.value == NOT_RUNNING else mask(self.name.lower(), self.value)


def effective_settings(config: Config, sources: dict[str, str]) -> list[Setting]:
    """Every setting in the order of `Config`, with secrets masked. `sources` comes from `get_sources`."""
    found = []
    for name, field in Config.model_fields.items():
        value, source = _effective(config, name, sources[name])
        found.append(Setting(name.upper(), value, source, field.description or ""))
    return found


def _effective(config: Config, name: str, source: str) -> tuple[Any, str]:
    value = getattr(config, name)
    if isinstance(value, SecretStr):
        return mask(name, value), source
    if name in _EMBEDDED and value is None:
        return running(config, _EMBEDDED[name]) or NOT_RUNNING, "embedded"
    if name == "secret_key" and value is None:
        return mask(name, "generated"), "generated"
    if name == "database_url" and value is None:
        return f"sqlite:///{config.data_dir / DATABASE}", source
    return str(value) if isinstance(value, Path) else value, source


class Command(QueuesiteCommand):
    """Prints the configuration without touching a server."""

    help = "Show the effective settings, each with its source, and the addresses of running embedded servers."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--json`."""
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, **options: Any) -> None:
        """Print the settings and the servers."""
        config = get_config()
        settings = effective_settings(config, dict(get_sources()))
        servers = {name: running(config, name) for s, name in _EMBEDDED.items() if getattr(config, s) is None}
        if options["json"]:
            self.print_json(
                {
                    "settings": {
                        s.name: {"value": s.value, "source": s.source, "description": s.description} for s in settings
                    },
                    "embeddedServers": servers,
                }
            )
            return
        self.print_table(
            ("setting", "value", "source", "description"),
            [(s.name, s.text, s.source, s.description) for s in settings],
        )
        if servers:
            self._explain(config, servers)

    def _explain(self, config: Config, servers: dict[str, str | None]) -> None:
        self.say("")
        if not any(servers.values()):
            self.say(f"embedded servers: {NOT_RUNNING}; {START_HINT}")
            return
        self.say("embedded servers, for any other client:")
        if mongodb := servers.get("mongodb"):
            self.say(f"  MongoDB  {mongodb}  (database {config.mongodb_name}, no password)")
        if sqs := servers.get("sqs"):
            self.say(f"  SQS      {sqs}  (region {config.aws_region})")
            self.say(f"           access key and secret key are the text of {access_key_path(config.data_dir / 'sqs')}")
