"""Where the code of handlers and tasks is, without importing it."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps

from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput

#: Code that was installed does not change while one works.
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


def directories(config: Config) -> list[Path]:
    """The directories to watch for changes: of installed apps, and of HANDLER_MODULES and TASK_MODULES.

    They are directories of whole packages, since a handler's module imports others. Raises `InvalidInput` for a module
    that does not exist.
    """
    found = {path.resolve() for path in _all(config)}
    own = [path for path in found if not any(path.is_relative_to(installed) for installed in _INSTALLED)]
    # One that is within another is watched with it.
    return sorted(path for path in own if not any(path != other and path.is_relative_to(other) for other in own))


def _all(config: Config) -> Iterator[Path]:
    for app in apps.get_app_configs():
        yield Path(app.path)
    for setting, modules in (("HANDLER_MODULES", config.handler_modules), ("TASK_MODULES", config.task_modules)):
        for module in modules:
            top = module.partition(".")[0]
            spec = find_spec(top)
            if spec is None:
                raise InvalidInput(f"{setting}: there is no module {module!r}; is its directory in PYTHONPATH?")
            if spec.submodule_search_locations is not None:
                yield from map(Path, spec.submodule_search_locations)
            elif spec.origin is not None:
                yield Path(spec.origin).parent
