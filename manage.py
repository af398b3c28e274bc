#!/usr/bin/env python3
"""Django's command line, with the configuration checked before anything else runs."""

import os
import sys


def main() -> int:
    """Run the command of `sys.argv`; a wrong configuration ends it with exit code 2 and all its problems."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "queuesite.settings")
    try:
        import django  # noqa: F401
    except ImportError:
        print("manage.py: Django is missing; run `make install`, then use .venv/bin/python manage.py", file=sys.stderr)
        return 1
    from queuesite.foundation.commands import execute
    from queuesite.foundation.config import get_config
    from queuesite.foundation.errors import ConfigError
    from queuesite.foundation.leaving import leave_quickly

    try:
        get_config()
    except ConfigError as error:
        print(f"manage.py: {error}", file=sys.stderr)
        return error.exit_code
    try:
        return execute(sys.argv)
    finally:
        leave_quickly()


if __name__ == "__main__":
    sys.exit(main())
