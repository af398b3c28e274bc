"""Whether requirements.lock fits requirements-postgres.txt, checked without a network: `make lint` runs this.

The versions come from the files; what needs what comes from the packages as they are installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
WANTED = ROOT / "requirements-postgres.txt"
LOCK = ROOT / "requirements.lock"

_ENTRY = re.compile(r"^(\S+)==([^\s;\\]+)( *;[^\\\n]*)?((?: *\\\n +--hash=sha256:[0-9a-f]{64})*) *$", re.MULTILINE)


def wanted(path: Path) -> Iterator[Requirement]:
    """The direct requirements of a file and of those that it includes."""
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from wanted(path.parent / text.removeprefix("-r ").strip())
        elif text:
            yield Requirement(text)


def problems(direct: list[Requirement], lock: str) -> list[str]:
    """What is wrong with the text of a lock, one line each."""
    entries = {canonicalize_name(entry[1]): entry for entry in _ENTRY.finditer(lock)}
    found = [f"{name} has no hash" for name, entry in entries.items() if not entry[4]]
    left = [f"{line} is not a pin" for line in re.findall(r"^\w.*", _ENTRY.sub("", lock), re.MULTILINE)]
    needed = _closure(direct, {name: entry[2] for name, entry in entries.items()}, found)
    # What another platform needs is not installed here, so nothing here needs it.
    found += [f"{name} is needed by nothing" for name in sorted(set(entries) - needed) if not entries[name][3]]
    return left + found


def _closure(direct: list[Requirement], locked: Mapping[str, str], found: list[str]) -> set[str]:
    """The names that are needed, directly or by others; what the lock lacks of them is added to `found`."""
    needed: set[str] = set()
    looked_at: set[tuple[str, str]] = set()
    queue = [(requirement, WANTED.name) for requirement in direct]
    while queue:
        requirement, by = queue.pop()
        name = canonicalize_name(requirement.name)
        needed.add(name)
        if name not in locked:
            found.append(f"{name} is missing; it is required by {by}")
            continue
        if not requirement.specifier.contains(locked[name], prereleases=True):
            found.append(f"{name} is {locked[name]}; {by} requires {requirement.specifier}")
        for extra in ("", *requirement.extras):
            if (name, extra) not in looked_at:
                looked_at.add((name, extra))
                queue += [(inner, name) for inner in _requirements(name, extra)]
    return needed


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    try:
        lines = requires(name) or []
    except PackageNotFoundError:  # of another platform
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def main() -> int:
    """Print the problems; 1 if there are any."""
    found = problems(list(wanted(WANTED)), LOCK.read_text())
    for problem in found:
        print(f"{LOCK.name}: {problem}; run `make lock`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
