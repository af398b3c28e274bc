#!/usr/bin/env python3
"""The command line in a clone, which is its own home: `.env`, `.data` and handlers are beside this file."""

import sys
from pathlib import Path


def main() -> int:
    """Run the command of `sys.argv`, if the libraries are there."""
    try:
        import django  # noqa: F401
    except ImportError:
        print("manage.py: Django is missing; run `make install`, then use .venv/bin/python manage.py", file=sys.stderr)
        return 1
    from queuesite.__main__ import main as run

    return run("manage.py", Path(__file__).resolve().parent)


if __name__ == "__main__":
    sys.exit(main())
