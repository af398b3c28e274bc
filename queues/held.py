"""How SQS holds a queue's settings: the attributes that a value stands for, and the value that attributes mean. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: What SQS holds of a FIFO queue for which nobody has set these. Emulators leave them out of their answers.
FIFO_DEFAULTS = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}


@dataclass(frozen=True)
class Held:
    """Translates a setting into SQS's attributes, and back."""

    attributes: Callable[[Any], dict[str, str]]
    value: Callable[[Mapping[str, str]], Any]


def number(attribute: str, default: int) -> Held:
    """A whole number that is an attribute of its own; 0 counts as `default`."""
    return Held(lambda value: {attribute: str(value)}, lambda found: int(found.get(attribute, default)) or default)


def switch(on: Mapping[str, str]) -> Held:
    """True: these attributes, all of them; false: SQS's defaults for them."""
    off = {name: FIFO_DEFAULTS[name] for name in on}
    return Held(
        lambda value: dict(on if value else off),
        lambda found: all(found.get(name) == value for name, value in on.items()),
    )
