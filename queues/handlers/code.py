"""Where the code of handlers and tasks is, without importing it."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps

from queuesite.foundation import home
from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput

#: Code that was installed does not change while one works.
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class Watched:
    """What to watch for changes. No directory is within a package."""

    #: With everything below them.
    packages: tuple[Path, ...]
    #: Only the modules in them: virtualenvs and data may lie below.
    folders: tuple[Path, ...]


def watched(config: Config) -> Watched:
    """What has the code of installed apps, of HANDLER_MODULES and TASK_MODULES, and of the home with its packages.

    Packages are watched as a whole, since a handler's module imports others. Raises `InvalidInput` for a module that
    does not exist.
    """
    folders = {home.home().resolve()}
    packages = {Path(app.path).resolve() for app in apps.get_app_configs()}
    for setting, modules in (("HANDLER_MODULES", config.handler_modules), ("TASK_MODULES", config.task_modules)):
        for module in modules:
            spec = find_spec(module.partition(".")[0])
            if spec is None:
                raise InvalidInput(f"{setting}: there is no module {module!r}; is its directory in PYTHONPATH?")
            if spec.submodule_search_locations is not None:
                packages.update(Path(place).resolve() for place in spec.submodule_search_locations)
            elif spec.origin is not None:
                folders.add(Path(spec.origin).resolve().parent)
    if home.home().resolve() != home.CODE:  # a clone's tests are no handlers
        packages.update(init.resolve().parent for init in home.home().glob("*/__init__.py"))
    outermost = tuple(sorted(_outermost(_own(packages))))
    inside = {folder for folder in folders for package in outermost if folder.is_relative_to(package)}
    return Watched(outermost, tuple(sorted(set(_own(folders)) - inside)))


def _own(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if not any(path.is_relative_to(installed) for installed in _INSTALLED))


def _outermost(paths: Iterable[Path]) -> Iterator[Path]:
    found = set(paths)
    return (path for path in found if not any(path != other and path.is_relative_to(other) for other in found))
