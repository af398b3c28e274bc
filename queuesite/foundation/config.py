"""The configuration: one frozen value, built once from the environment and `.env` and validated as a whole at start.

`get_config()` is the only access to it. One `ConfigError` lists all problems, so that none hides another.
"""

from __future__ import annotations

import difflib
import functools
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from queuesite.foundation import private
from queuesite.foundation.config_model import AWS as AWS
from queuesite.foundation.config_model import Config as Config
from queuesite.foundation.config_shown import ADDRESSES as ADDRESSES
from queuesite.foundation.config_shown import SECRETS as SECRETS
from queuesite.foundation.config_shown import mask as mask
from queuesite.foundation.errors import ConfigError
from queuesite.foundation.home import CODE, home
from queuesite.foundation.rules import RULES

#: Where the code is.
BASE_DIR = CODE


@dataclass(frozen=True)
class Loaded:
    """A valid configuration with the source of each value (`environment`, a file's name or `default`)."""

    config: Config
    sources: Mapping[str, str]


def _problem_of(error: Mapping[str, Any]) -> tuple[str, str]:
    field = str(error["loc"][0])
    name = field.upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if field in SECRETS:
        return field, f"{name}: {message}"
    value = mask(field, str(error["input"]))
    return field, f"{name}={value}: {message}"


def load() -> Loaded:
    """Build the configuration from the environment and the file that `ENV_FILE` names.

    Without ENV_FILE that is `.env` in the home, if it exists; an empty ENV_FILE means no file.

    Variables that only the file sets are added to the environment, so that boto3's own (`AWS_PROFILE`) may stand in
    the file too. Raises `ConfigError` with every problem found.
    """
    environ = os.environ
    problems: list[str] = []
    env_file = environ.get("ENV_FILE", str(home() / ".env"))
    from_file: dict[str, str] = {}
    if env_file:
        path = Path(env_file)
        if "ENV_FILE" in environ and not path.is_file():
            problems.append(f"ENV_FILE={env_file}: no such file; name a file that exists, or unset ENV_FILE")
        try:
            from_file = {k: v for k, v in dotenv_values(path).items() if v is not None}
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"ENV_FILE={env_file}: cannot be read as UTF-8 text ({error})")
    known = {name.upper() for name in Config.model_fields}
    problems += [
        f"{name} in {env_file} is not a setting: did you mean {close[0]}?"
        for name in sorted(set(from_file) - known)
        if (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85))
    ]
    key = from_file.get("AWS_ACCESS_KEY_ID")
    if key and environ.get("AWS_ACCESS_KEY_ID", key) != key:
        from_file.pop("AWS_SESSION_TOKEN", None)  # it belongs to the file's own keys, which the environment overrides
    origin = {}
    for name in known:
        if environ.get(name):
            origin[name.lower()] = "environment"
        elif name not in environ and from_file.get(name):  # empty in the environment means the default, not the file
            origin[name.lower()] = Path(env_file).name
    for name, value in from_file.items():
        environ.setdefault(name, value)

    bad: set[str] = set()
    try:
        config = Config()
    except ValidationError as error:
        for item in error.errors():
            field, problem = _problem_of(item)
            bad.add(field)
            problems.append(problem)
        # Defaults replace the invalid values, so that the rules about the other settings are still checked.
        config = Config(**{name: Config.model_fields[name].default for name in bad})
    for names, rule in RULES:
        if not names & bad and (found := rule(config)):
            problems.append(found)
    if problems:
        raise ConfigError(problems)
    return Loaded(config, {name: origin.get(name, "default") for name in Config.model_fields})


@functools.cache
def _loaded() -> Loaded:
    return load()


def get_config() -> Config:
    """The configuration of this process. The first call raises `ConfigError` if it is wrong."""
    return _loaded().config


def get_sources() -> Mapping[str, str]:
    """Where each setting's value came from."""
    return _loaded().sources


def secret_key(config: Config) -> str:
    """SECRET_KEY, or a generated key that is kept in DATA_DIR (mode 0600)."""
    if config.secret_key is not None:
        return config.secret_key.get_secret_value()
    return private.kept_secret(config.data_dir / private.SECRET_KEY, lambda: secrets.token_urlsafe(50))


def limits_of(name: str) -> tuple[int, int]:
    """The lowest and the highest whole number of a setting that declares both."""
    declared = Config.model_fields[name].metadata
    low, high = (next(getattr(one, end) for one in declared if hasattr(one, end)) for end in ("ge", "le"))
    return low, high
