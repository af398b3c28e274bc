"""Where Queuesite's code is, the folder that it works in, and how it starts itself again.

The code is a clone of the repository or lies in site-packages, where nothing is ever written. The *home* has `.env`,
`.data` and a team's modules; `QUEUESITE_HOME` names it. Without the variable it is the working folder, or the clone if
`manage.py` runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from queuesite.foundation.errors import ConfigError

#: The clone, or site-packages.
CODE = Path(__file__).resolve().parents[2]
CLONE = (CODE / "manage.py").is_file() and (CODE / "requirements.txt").is_file()
#: How people call the command line here: what messages name.
PROGRAM = "manage.py" if CLONE else "queuesite"
VARIABLE = "QUEUESITE_HOME"
#: Our packages, whose names a team might choose too.
OURS = ("queuesite", "queues", "jobs")


def home() -> Path:
    """The home of this process, as an absolute path. It need not exist: see `check`."""
    named = os.environ.get(VARIABLE)
    return Path(named or (CODE if CLONE else Path.cwd())).absolute()


def enter(default: Path) -> None:
    """Make the home known to this process and its children, and put it first on the import path.

    `default` is the home if the environment names none.
    """
    os.environ[VARIABLE] = str(Path(os.environ.get(VARIABLE) or default).absolute())
    if str(home()) not in sys.path:
        sys.path.insert(0, str(home()))


def check() -> None:
    """Raise `ConfigError` if this home cannot be used: it is not a directory, or something shadows our packages.

    A project that only sends does not check, since it may have packages of any name.
    """
    found = []
    if not home().is_dir():
        found.append(f"{VARIABLE}={home()}: no such directory; name one that exists, or unset {VARIABLE}")
    for name in OURS:
        # Not `find_spec`, which answers for a package that is imported already; a child would import the other one.
        spec = PathFinder.find_spec(name)
        path = Path((spec and spec.origin) or CODE / name / "__init__.py")
        theirs = path.parent if path.name == "__init__.py" else path
        if theirs.resolve().parent != CODE:
            found.append(
                f"{theirs} shadows Queuesite's own package {name!r}: rename it, or put it into a package of yours"
            )
    if found:
        raise ConfigError(found)


def own_module(name: str) -> bool:
    """Whether the home itself has a module `name` (handlers, tasks), which needs no setting."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return False
    path = Path(spec.origin)
    return (path.parents[1] if path.name == "__init__.py" else path.parent).resolve() == home().resolve()


def command(*arguments: str) -> list[str]:
    """Our command line as a process of its own; it needs the environment of `environment`."""
    # -P: the working folder is not on the import path unless it is the home.
    return [sys.executable, "-P", "-m", "queuesite", *arguments]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as a child needs it, to have the same home and to find our packages and those of the home."""
    return {**environ, VARIABLE: str(home()), "PYTHONPATH": import_path(environ.get("PYTHONPATH", ""))}


def import_path(before: str) -> str:
    """PYTHONPATH for a new interpreter: what it is now, with the home and a clone's code if they are missing.

    site-packages must not stand there, where they would come before the standard library.
    """
    parts = [part for part in before.split(os.pathsep) if part]
    for needed in (CODE, home()) if CLONE else (home(),):
        if str(needed) not in parts:
            parts.insert(0, str(needed))
    return os.pathsep.join(parts)
