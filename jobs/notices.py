"""Sending notices to the addresses of ALERT_URLS by apprise, and the record of what was sent.

Addresses hold passwords and tokens, in their paths too. So nothing here shows one: an address is named by its place
among the others and its service, and what its server answered is shown without any part of the address.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from jobs.alert_models import Notice, NoticeKind
from jobs.repositories import notices
from queuesite.foundation import actor
from queuesite.foundation.actor import MAX_ACTOR
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import MongoError
from queuesite.foundation.errors import Conflict, ServerError
from queuesite.foundation.logs import get_logger
from queuesite.foundation.masking import MASK
from queuesite.foundation.pages import Cursor, cut

if TYPE_CHECKING:
    from apprise import NotifyBase

log = get_logger(__name__)

#: How long an address may take, in seconds.
SENDING_SECONDS = 30.0
#: The same for a test, whose sender waits for it.
TEST_SECONDS = 10.0
#: Characters of an answer that are kept.
_LONGEST = 200
#: Services whose host is not a secret, as it would be a token for some others.
_WITH_HOST = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"})


@dataclass(frozen=True)
class Answer:
    """How an address answered a notice."""

    #: The address without its secrets: `1: Slack`, `2: JSON at hooks.example.com`.
    target: str
    took: bool
    #: Why it did not take it, as far as that is known.
    text: str = ""


def send(kind: NoticeKind, title: str, body: str, seconds: float = SENDING_SECONDS) -> list[Answer]:
    """Send a notice to every address and record how each answered. Raises `Conflict` if ALERT_URLS is unusable.

    An address that answers after `seconds` may have it although it counts as not sent.
    """
    addresses = _addresses()
    with ThreadPoolExecutor(len(addresses), thread_name_prefix="notices") as pool:
        answers = list(pool.map(lambda one: one.take(title, body, seconds), addresses))
    log.info("notice_sent", kind=kind.value, took=sum(one.took for one in answers), addresses=len(answers))
    for one in answers:
        if not one.took:
            log.warning("notice_not_taken", target=one.target, error=one.text)
    who = actor.current()[:MAX_ACTOR]
    notice = Notice(kind=kind.value, title=title, body=body, actor=who, answers=[asdict(one) for one in answers])
    try:
        notices.insert(notice)
    except (MongoError, ServerError) as error:  # what was sent was sent
        log.warning("notice_not_recorded", error=str(error)[:300])
    return answers


def deliver(kind: NoticeKind, title: str, body: str, problems: int = 1) -> str:
    """Send a notice of so many problems; why no address took it, which is logged, or an empty text."""
    try:
        error = failure(send(kind, title, body))
    except Conflict as unusable:
        error = str(unusable)
    if error:
        log.warning("notices_not_sent", count=problems, error=error)
    return error


def test() -> list[Answer]:
    """Send a test notice. Raises `Conflict` if ALERT_URLS is unusable."""
    return send(NoticeKind.TEST, "Queuesite: test", "This is a test of ALERT_URLS. Nothing is wrong.", TEST_SECONDS)


def targets() -> tuple[list[str], str]:
    """The names of the addresses, without their secrets, and what is wrong with ALERT_URLS, if it is anything."""
    if get_config().alert_urls is None:
        return [], ""
    try:
        return [one.name for one in _addresses()], ""
    except Conflict as error:
        return [], str(error)


def failure(answers: Sequence[Answer]) -> str:
    """Why no address took a notice, in a sentence; empty if one did."""
    if any(one.took for one in answers):
        return ""
    return f"no address of ALERT_URLS took the notice: {'; '.join(f'{one.target}: {one.text}' for one in answers)}"


def find(*, cursor: str | None = None, limit: int = 50) -> tuple[list[Notice], str | None]:
    """A page of the notices that were sent, the latest first, and the cursor of the next. Raises `InvalidInput`."""
    filters = {} if cursor is None else Cursor.decode(cursor, datetime).behind("at", descending=True)
    return cut(notices.newest(filters, limit + 1), limit, lambda one: Cursor(one.at, one.id))


@dataclass(frozen=True)
class _Address:
    name: str
    service: NotifyBase
    mask: Callable[[str], str]

    def take(self, title: str, body: str, seconds: float) -> Answer:
        from apprise import Apprise

        one = Apprise()
        one.add(self.service)
        try:
            result = one.notify(title=title, body=body, timeout=seconds)
        except Exception as error:  # of whatever service this is; its text may hold the address
            return Answer(self.name, took=False, text=f"failed with {type(error).__name__}")
        if result:
            return Answer(self.name, took=True)
        said = [entry.message for entry in result.logs()]
        return Answer(self.name, took=False, text=self.mask(said[-1])[:_LONGEST] if said else "did not take it")


def _addresses() -> list[_Address]:
    """Each address of ALERT_URLS. Raises `Conflict`, which names none of them."""
    from apprise import Apprise  # it takes 0.15 s, which only this needs

    logger = logging.getLogger("apprise")  # it logs addresses, so only the answers are taken from it
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    configured = get_config().alert_urls
    if configured is None:
        raise Conflict("ALERT_URLS is empty: expected addresses as apprise takes them, separated by commas")
    made = Apprise()
    if not made.add(configured.get_secret_value()) or not len(made):
        raise Conflict(
            "ALERT_URLS has an address that apprise does not know; see https://github.com/caronc/apprise/wiki"
        )
    hosts = {str(service.host) for service in made if service.schema in _WITH_HOST and service.host}
    secrets = [part for part in _parts(configured.get_secret_value()) if part not in hosts]
    return [
        _Address(f"{place}: {_named(service)}", service, lambda text: _masked(text, secrets))
        for place, service in enumerate(made, 1)
    ]


def _named(service: NotifyBase) -> str:
    host = f" at {service.host}" if service.schema in _WITH_HOST and service.host else ""
    return f"{service.service_name}{host}"


def _parts(addresses: str) -> list[str]:
    """All parts of the addresses that may be secret, the longest first; schemes are not."""
    without = re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://", " ", addresses)
    found = {part for text in (without, unquote(without)) for part in re.split(r"[\s/:@?&=,;+#]+", text)}
    return sorted((part for part in found if len(part) > 2), key=len, reverse=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return " ".join(text.split())
