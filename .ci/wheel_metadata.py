"""The wheel's dependencies, from the requirements files (`[tool.hatch.metadata.hooks.custom]` in pyproject.toml).

The files pin exactly what was tested. A team installs the wheel beside libraries of its own, so in the wheel a pin
means "this version or a later one that promises to be compatible": up to the next major version, or the next minor one
of a library below 1.0. requirements.lock has exactly what was tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: The optional parts, each with its file.
EXTRAS = {name: f"requirements-{name}.txt" for name in ("postgres", "opentelemetry", "sentry")}
_PIN = re.compile(r"^([A-Za-z0-9._-]+(?:\[[a-z,]+\])?)==(\d+)\.(\d+)(\S*)$")


def requirements(path: Path) -> list[str]:
    """The requirements of a file without those that it includes, as the wheel has them.

    Raises `ValueError` for a line that is not a pin.
    """
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [compatible(line) for line in lines if line and not line.startswith("-r ")]


def compatible(pin: str) -> str:
    """`boto3==1.44.5` as `boto3>=1.44.5,<2`, `uvicorn==0.54.0` as `uvicorn>=0.54.0,<0.55`."""
    found = _PIN.match(pin)
    if found is None:
        raise ValueError(f"{pin!r} is not a pin like name==1.2.3")
    name, major, minor, rest = found.groups()
    limit = f"{int(major) + 1}" if int(major) else f"0.{int(minor) + 1}"
    return f"{name}>={major}.{minor}{rest},<{limit}"


class Hook(MetadataHookInterface):
    """Adds what the files say."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        metadata["dependencies"] = requirements(root / "requirements.txt")
        metadata["optional-dependencies"] = {name: requirements(root / file) for name, file in EXTRAS.items()}
