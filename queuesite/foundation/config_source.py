"""The environment as the source of the configuration's values."""

from __future__ import annotations

import os
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class Environment(PydanticBaseSettingsSource):
    """The variables that bear a field's name, in whatever case; an empty one is as good as none.

    That of pydantic-settings examines the type of each field each time, which takes most of the time of a load. Here
    each value is text, which the field's own validators read.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return os.environ.get(field_name.upper()), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        return {name.lower(): value for name, value in os.environ.items() if value and name.lower() in fields}


class FromEnvironment(BaseSettings):
    """Values that are given by name, or else by the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Environment(settings_cls)
