"""What is wrong with a handler's options: one line for people, and each problem at its path for forms and the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from queuesite.foundation.errors import InvalidInput

#: The setting that the options are; paths to them begin with it.
FIELD = "handler_options"


def refused_options(handler: str, problems: Sequence[tuple[Sequence[str], str]]) -> InvalidInput:
    """The error that names each wrong option by its path below the options; () means all of them together."""
    told = "; ".join(f"{'.'.join(path) or 'options'}: {message}" for path, message in problems)
    return InvalidInput(
        f"options of handler {handler!r}: {told}",
        field=FIELD,
        fields=[(".".join((FIELD, *path)), message) for path, message in problems],
    )


def takes_no_options(handler: str, options: Iterable[str]) -> InvalidInput:
    """The error for options of a handler that has none."""
    return InvalidInput(f"handler {handler!r} takes no options, but got {', '.join(sorted(options))}", field=FIELD)
