"""`manage.py startqueues`: makes a team's starting point."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

from django.core.management.base import CommandParser

from queuesite.foundation.commands import QueuesiteCommand
from queuesite.foundation.errors import Conflict, InvalidInput
from queuesite.foundation.home import CLONE, CODE, VARIABLE

_TEMPLATES = CODE / "queuesite" / "starting_point"
#: Where each file goes, with the name of the template; `{name}` is the package's.
_FILES = {
    "{name}/handlers.py": "handlers.py-tpl",
    "conftest.py": "conftest.py-tpl",
    "tests/test_handlers.py": "test_handlers.py-tpl",
    ".env": "env-tpl",
    ".gitignore": "gitignore-tpl",
    "Dockerfile": "Dockerfile-tpl",
    "pyproject.toml": "pyproject.toml-tpl",
}


class Command(QueuesiteCommand):
    """Writes the files, all of them or none."""

    help = "Make a directory with a package of handlers, a test, settings and a Dockerfile, to start from."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", metavar="DIR", type=Path, help="new directory; its name becomes the package's")

    def run(self, **options: Any) -> None:
        """Check the name, write, and say what comes next."""
        target: Path = options["directory"].absolute()
        name = target.name
        if not (name.isidentifier() and name.isascii() and name.islower()) or find_spec(name) is not None:
            raise InvalidInput(
                f"{name!r} cannot be the name of the package of handlers: expected lower-case letters, digits and "
                "underscores, and no name that Python or Queuesite uses already"
            )
        if target.is_dir() and any(target.iterdir()):
            raise Conflict(f"{target} exists and is not empty; name a new directory")
        try:
            _write(target, name)
        except OSError as error:
            raise Conflict(f"{target} cannot be written: {error.strerror or error}") from error
        program = "queuesite"
        if CLONE:
            program = f"{shlex.quote(sys.executable)} {shlex.quote(str(CODE / 'manage.py'))}"
        here = f"{VARIABLE}={shlex.quote(str(target))} {program}"
        self.say(
            f"{target} has a handler, its test, settings and a Dockerfile. Next:\n\n"
            f"  {here} up --reload\n"
            f"  {here} sqs create {name}-orders --handler {name}-orders\n"
            f"  {here} sqs send {name}-orders 1 --body '{{\"number\": 1}}'\n\n"
            f"The tests run with `pytest` in {target}."
        )


def _write(target: Path, name: str) -> None:
    """Write beside the target, and put it in place when it is complete."""
    # The handlers' package, and a clone's code, which is not installed.
    path = json.dumps([".", str(CODE)] if CLONE else ["."], ensure_ascii=False)
    values = {"name": name, "path": path}
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        for path, template in _FILES.items():
            file = draft / path.format(name=name)
            file.parent.mkdir(exist_ok=True)
            file.write_text(Template((_TEMPLATES / template).read_text()).substitute(values))
        (draft / name / "__init__.py").touch()
        draft.chmod(0o755)
        draft.replace(target)  # an empty directory gives way
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
