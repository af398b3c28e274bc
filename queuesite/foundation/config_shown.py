"""How settings may be shown."""

from __future__ import annotations

from typing import get_args

from pydantic import SecretStr

from queuesite.foundation.config_model import Config
from queuesite.foundation.masking import MASK, Address, mask_address


def _of_type(wanted: type) -> frozenset[str]:
    return frozenset(name for name, field in Config.model_fields.items() if wanted in get_args(field.annotation))


#: Names of settings whose values are never shown.
SECRETS = _of_type(SecretStr)
#: Names of settings that are shown without their passwords.
ADDRESSES = _of_type(Address)


def mask(name: str, value: object) -> str:
    """The setting `name` as it may be shown: secrets as asterisks, addresses without their passwords."""
    if value is None:
        return ""
    if name in SECRETS:
        return MASK
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    # An `Address` has masked itself, which a second time changes nothing.
    return mask_address(text) if name in ADDRESSES else text
