"""Imported by a fork server before anything else: each boto3 client that a process makes from then on is noted.

The file CLIENTS_MADE gets a line with the id of the process that made one.
"""

from __future__ import annotations

import os
from typing import Any

import botocore.session

_create_client = botocore.session.Session.create_client


def _create_and_note(self: Any, *args: Any, **options: Any) -> Any:
    with open(os.environ["CLIENTS_MADE"], "a") as file:
        file.write(f"{os.getpid()}\n")
    return _create_client(self, *args, **options)


botocore.session.Session.create_client = _create_and_note  # type: ignore[method-assign]
