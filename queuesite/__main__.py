"""The command line: `queuesite …`, or `python -m queuesite …`. In a clone, `manage.py` calls it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from queuesite import __version__
from queuesite.foundation import home, starting


def main(program: str = "queuesite", folder: Path | None = None) -> int:
    """Run the command of `sys.argv`; a wrong configuration ends it with exit code 2 and all its problems.

    `program` is the name that it was called by. `folder` is the home if QUEUESITE_HOME is not set; None means the
    working folder.
    """
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["version"]):
        print(f"queuesite {__version__}")
        return 0
    starting.begin()
    home.enter(folder or Path.cwd())
    from queuesite.foundation.command_line import execute
    from queuesite.foundation.config import get_config
    from queuesite.foundation.errors import ConfigError
    from queuesite.foundation.leaving import leave_quickly

    # A worker's consumers would run the script of the console again; this file they know (`jobs.worker.preload`).
    sys.modules["__main__"].__file__ = __file__
    try:
        home.check()
        get_config()
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    # Only now, since `.env` may name a team's own settings.
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        os.environ["DJANGO_SETTINGS_MODULE"] = "queuesite.settings"
    try:
        return execute([program, *arguments])
    finally:
        leave_quickly()


if __name__ == "__main__":
    sys.exit(main())
