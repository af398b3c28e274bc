"""The settings of a queue, each declared once: everything else that knows settings is made from this module.

Made from it are the model's fields, the check of malformed documents, the validation of the services, the API's
schemas, the arguments of `sqs create` and its JSON, the admin's form, a consumer's settings and the table in
docs/reference.md. A further setting is one more attribute of `Settings`, and the code that acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from queues import held
from queues.health.names import NONE, NOTIFIABLE
from queues.setting_words import SettingWords, share
from queuesite.foundation.config import get_config, limits_of
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.sqs_limits import MAX_VISIBILITY_SECONDS

#: Longest JSON of a handler's options: each consumer is given them, and every reader of queues reads them.
MAX_OPTIONS_BYTES = 65_536
#: Permission to choose a queue's handler and its options, which decide what happens to its messages.
HANDLER_PERMISSION = "queues.change_handler"
#: Longest name of a handler.
MAX_HANDLER_NAME = 100
#: What a pool's name consists of, for queues and for workers.
POOL_PATTERN = r"[A-Za-z0-9_-]{1,50}"
POOL_LENGTH = 50
#: Most characters of a wrong value that an error repeats.
_SHOWN = 120


@dataclass(frozen=True)
class Setting(SettingWords):
    """What is declared of a setting besides its name, its type and its default."""

    #: What it means, with its unit.
    help: str
    #: Heading that it stands under in forms and docs.
    group: str
    #: Lowest and highest whole number; None for other types. A setting with `empty_from` has the configuration's.
    limits: tuple[int, int] | None = None
    #: Attribute of the configuration that lowers the highest number.
    capped_by: str | None = None
    #: Attribute of the configuration that is a new queue's default, instead of the declared one.
    default_from: str | None = None
    #: Most characters of a string.
    max_length: int | None = None
    #: What a string must match as a whole, and that in words; None: any printable text.
    pattern: str | None = None
    pattern_words: str = "printable characters"
    #: Words of which it may be one or several, separated by commas; `none` stands alone.
    choices: tuple[str, ...] = ()
    #: What a number counts (`second`, `message`, `%`), or a function that says it in words.
    unit: str | Callable[[int], str] = ""
    #: What it means that an optional setting is empty; or the attribute of the configuration that then holds.
    empty: str | None = None
    empty_from: str | None = None
    #: SQS holds it too: a change is written there first.
    held_by_sqs: bool = False
    #: As which attributes; None: as part of the redrive policy.
    sqs: held.Held | None = None
    #: Only FIFO queues have it; on others it is None.
    fifo_only: bool = False
    #: A consumer at work follows a change within seconds.
    followed: bool = False
    #: It has commands of its own, and is neither given at creation nor asked for in a form.
    own_commands: tuple[str, ...] = ()
    #: What people call it, if that is not its name with spaces.
    called: str | None = None
    # Below: taken from the attribute of `Settings`.
    name: str = ""
    type: type = int
    optional: bool = False
    declared_default: Callable[[], Any] = NoneType

    @property
    def field_name(self) -> str:
        """Its name in MongoDB and in JSON."""
        first, *others = self.name.split("_")
        return first + "".join(word.title() for word in others)

    @property
    def default(self) -> Any:
        """The value of a queue that is created without one."""
        return self.declared_default() if self.default_from is None else getattr(get_config(), self.default_from)

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Lowest and highest value under the present configuration; None unless it is a number."""
        if self.limits is None or self.capped_by is None:
            return self.limits
        return self.limits[0], getattr(get_config(), self.capped_by)

    def check(self, value: Any) -> None:
        """Raise `InvalidInput`, with the name as its field, for a value that the setting cannot have."""
        if value is None and self.optional:
            return
        if self.bounds is not None:
            low, high = self.bounds
            if not is_whole(value, low, high):
                hint = f" ({self.capped_by.upper()})" if self.capped_by else ""
                raise InvalidInput(
                    f"{self.words} {value!r} is out of range: expected a whole number from {low} to {high}{hint}",
                    field=self.name,
                )
        elif self.type is bool and not isinstance(value, bool):
            raise InvalidInput(f"{self.words} is {value!r}: expected true or false", field=self.name)
        elif self.type is str and not self._is_text(value):
            shown = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}…"
            if self.choices:
                several = ", ".join(one for one in self.choices if one != NONE)
                expected = f"one or several of {several}, separated by commas without spaces, or {NONE} alone"
            else:
                expected = f"1 to {self.max_length} {self.pattern_words}"
            raise InvalidInput(f"{self.words} {shown}: expected {expected}", field=self.name)

    def _is_text(self, value: Any) -> bool:
        if not isinstance(value, str) or not 1 <= len(value) <= (self.max_length or len(value)):
            return False
        return value.isprintable() and (self.pattern is None or re.fullmatch(self.pattern, value) is not None)


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether it is a whole number within these limits, and no boolean, which Python takes for one."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def setting(default: Any, **declared: Any) -> Any:
    """The declaration of a setting: its default (or a function that makes it), and what `Setting` has."""
    made_by = default if callable(default) else (lambda: default)
    return field(
        default_factory=made_by,
        # Settings that differ only in what no consumer follows are the same to it.
        compare=declared.get("followed", False),
        metadata={"setting": {**declared, "declared_default": made_by}},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person may choose for a queue."""

    handler: str = setting(
        "log",
        group="Handler",
        help="registered handler that is called for each message",
        max_length=MAX_HANDLER_NAME,
        followed=True,
    )
    handler_options: dict[str, Any] = setting(  # noqa: RUF009 - it is `dataclasses.field`
        dict,
        group="Handler",
        help="options of the handler; a value may be `env:NAME`, a variable of the worker's environment",
        followed=True,
    )
    timeout: int | None = setting(
        None,
        group="Handler",
        help="seconds that the handler may take for one message",
        unit="second",
        limits=(1, MAX_VISIBILITY_SECONDS),
        empty="the handler's own limit, if it has one",
        followed=True,
    )
    concurrency: int = setting(
        5,
        group="Pace",
        help="messages handled at once by one consumer",
        unit="message",
        limits=(1, 1_000),
        capped_by="max_concurrency",
        default_from="default_concurrency",
        followed=True,
    )
    max_consumers: int = setting(
        1,
        group="Pace",
        help="consumers that may share the queue while its backlog is large; on a FIFO queue, groups stay in order",
        unit="consumer",
        limits=(1, 100),
    )
    pool: str | None = setting(
        None,
        group="Pace",
        help="pool of workers that may process the queue",
        max_length=POOL_LENGTH,
        pattern=POOL_PATTERN,
        pattern_words="letters, digits, hyphens and underscores",
        empty="any worker",
    )
    priority: int = setting(
        0,
        group="Pace",
        help="queues with a higher number are served first when workers have too few places",
        limits=(0, 9),
    )
    # SQS's limit is 12 h, its default 30 s. Handlers may run longer: what is held is extended before it expires.
    visibility_timeout: int = setting(
        30,
        group="Delivery by SQS",
        help="seconds that a received message stays hidden; extended while it is handled",
        unit="second",
        limits=(1, MAX_VISIBILITY_SECONDS),
        held_by_sqs=True,
        sqs=held.number("VisibilityTimeout", 30),
        followed=True,
    )
    # SQS allows 1 to 1,000.
    max_receive_count: int = setting(
        5,
        group="Delivery by SQS",
        help="receives after which a message goes to the dead-letter queue",
        unit="receive",
        limits=(1, 1_000),
        held_by_sqs=True,
        followed=True,
    )
    # None leaves them as SQS has them: queues from before these settings may have got them from elsewhere.
    content_based_deduplication: bool | None = setting(
        None,
        group="FIFO",
        called="content-based deduplication",
        help="SQS drops a message whose body it took within the last five minutes; senders need no deduplication id",
        held_by_sqs=True,
        sqs=held.switch({"ContentBasedDeduplication": "true"}),
        fifo_only=True,
        empty="as SQS has it (off for a new queue)",
    )
    high_throughput: bool | None = setting(
        None,
        group="FIFO",
        help="SQS limits throughput and drops duplicates per message group instead of per queue",
        held_by_sqs=True,
        sqs=held.switch({"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}),
        fifo_only=True,
        empty="as SQS has it (off for a new queue)",
    )
    sample_one_in: int | None = setting(
        None,
        group="Records",
        help="one in this many successful attempts is recorded with what it logged (1: all; 0: none)",
        unit=share,
        empty_from="sample_one_in",
        followed=True,
    )
    failing_percent: int | None = setting(
        None,
        group="Health and notices",
        help="share of failed attempts, in percent, at which the queue counts as failing",
        unit="%",
        empty_from="health_failing_percent",
    )
    max_message_age: int | None = setting(
        None,
        group="Health and notices",
        help="age in seconds that its oldest message may reach; more is a problem",
        unit="second",
        empty_from="health_max_message_age_seconds",
    )
    max_backlog: int | None = setting(
        None,
        group="Health and notices",
        help="visible messages that it may hold; more are a problem",
        unit="message",
        empty_from="health_max_backlog",
    )
    max_dead_letters: int | None = setting(
        None,
        group="Health and notices",
        help="dead letters that it may have; more are a problem",
        unit="dead letter",
        empty_from="health_max_dead_letters",
    )
    notify_of: str | None = setting(
        None,
        group="Health and notices",
        help="problems that cause a notice: urgent (the red ones), all, none, or their names",
        max_length=500,
        choices=NOTIFIABLE,
        empty_from="alert_on",
    )
    notify_after: int | None = setting(
        None,
        group="Health and notices",
        help="seconds that a problem must last before a notice is sent",
        unit="second",
        empty_from="alert_after_seconds",
    )
    paused: bool = setting(
        False,
        group="Pace",
        help="a paused queue is not processed; its consumers finish what is in flight, and end",
        own_commands=("pause", "resume"),
    )


def _declared() -> dict[str, Setting]:
    types = get_type_hints(Settings)
    found = {}
    for one in fields(Settings):
        kinds = [kind for kind in get_args(types[one.name]) if kind is not NoneType]
        optional = NoneType in get_args(types[one.name])
        kind = kinds[0] if optional else types[one.name]
        declared = one.metadata["setting"]
        if declared.get("choices"):
            word = f"(?:{'|'.join(one for one in declared['choices'] if one != NONE)})"
            declared = {**declared, "pattern": f"(?:{NONE}|{word}(?:,{word})*)"}
        if declared.get("empty_from"):
            attribute = declared["empty_from"]
            declared = {**declared, "empty": f"as {attribute.upper()} says"}
            if kind is int:
                declared["limits"] = limits_of(attribute)
        found[one.name] = Setting(
            name=one.name,
            type=getattr(kind, "__origin__", kind),
            optional=optional,
            **declared,
        )
    return found


#: Every setting by its Python name.
SETTINGS = _declared()
#: Those that are given at creation and asked for in forms.
ASKED = {name: one for name, one in SETTINGS.items() if not one.own_commands}
#: Those of them that are chosen for a queue that others own: the rest is theirs, and is read from SQS.
CHOSEN_FOR_ADOPTED = {name: one for name, one in ASKED.items() if not one.held_by_sqs}
#: Those that only FIFO queues have.
FIFO_ONLY = {name: one for name, one in SETTINGS.items() if one.fifo_only}


def bounds() -> dict[str, tuple[int, int]]:
    """Lowest and highest value of each numeric setting."""
    return {name: one.bounds for name, one in SETTINGS.items() if one.bounds is not None}


def groups() -> dict[str, tuple[str, ...]]:
    """The names of the settings that forms ask for, by their headings."""
    found: dict[str, tuple[str, ...]] = {}
    for name, one in ASKED.items():
        found[one.group] = (*found.get(one.group, ()), name)
    return found
