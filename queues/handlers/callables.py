"""What may be registered as a handler: functions, and what can be called like one. Pure."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any


def called(function: Any) -> Any:
    """The function that runs when `function` is called, below partials, bound methods and callable objects."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function) or isinstance(function, type) or not callable(function):
            return function
        else:
            function = type(function).__call__


def refusal_of(function: Any) -> str | None:
    """Why `function` cannot handle messages although it can be called: its work would never be done."""
    if not callable(function):
        return "it cannot be called; register a function"
    if isinstance(function, type):
        return "it is a class, and calling it only makes an instance; register a function, or an instance with __call__"
    runs = called(function)
    if inspect.isgeneratorfunction(runs) or inspect.isasyncgenfunction(runs):
        return (
            "it is a generator function, since it has `yield` in it, and calling it runs none of its code; "
            "do the work in the function itself, and return"
        )
    return None
