"""A handler that some workers of a test have: HANDLER_MODULES=tests.support.handlers_for_tests,…handlers_resize."""

from __future__ import annotations

from queues.handlers import Message, handler
from tests.support.handlers_for_tests import RecorderOptions, recorder


@handler("resize", options=RecorderOptions)
def resize(message: Message) -> None:
    """Do what the recorder does."""
    recorder(message)
