"""Messages as JSON, for tasks that send them later."""

from __future__ import annotations

import base64
from typing import Any

from queues.sqs import OutgoingMessage


def as_json(message: OutgoingMessage) -> dict[str, Any]:
    """The message as a JSON value."""
    attributes = {
        name: {**value, "BinaryValue": base64.b64encode(value["BinaryValue"]).decode()}
        if "BinaryValue" in value
        else value
        for name, value in message.attributes.items()
    }
    return {**vars(message), "attributes": attributes}


def from_json(item: dict[str, Any]) -> OutgoingMessage:
    """The message from which `as_json` made the value."""
    attributes = {
        name: {**value, "BinaryValue": base64.b64decode(value["BinaryValue"])} if "BinaryValue" in value else value
        for name, value in item["attributes"].items()
    }
    return OutgoingMessage(**{**item, "attributes": attributes})
