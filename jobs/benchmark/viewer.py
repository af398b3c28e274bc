"""Viewers of the admin without a browser: they open pages, and refresh them as live.js and status.js do."""

from __future__ import annotations

import gzip
import http.client
import itertools
import re
import threading
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.urls import reverse

from queuesite.foundation.errors import ServerError
from queuesite.live import HEADER, PARTS

#: How often live.js asks, in seconds.
EVERY = 2.0
#: How often status.js asks for the strip meanwhile.
_STRIPS = 2
_PART = re.compile(r'id="([^"]+)" data-(?:part="([0-9a-f]+)"|same)')


def log_in() -> str:
    """The cookie of a superuser who is made for it."""
    user = User.objects.create_superuser("benchmark")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


@dataclass
class Viewer:
    """Somebody with one page open."""

    port: int
    cookie: str
    path: str = ""
    #: Seconds until the first byte of each answer, and the compressed size of each refresh.
    first_bytes: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    _parts: dict[str, str] = field(default_factory=dict)
    _etag: str = ""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def open(self, path: str) -> float:
        """Open a page; the seconds until its first byte. Raises `ServerError` for any answer but 200."""
        self.path, self._parts, self._etag = path, {}, ""
        took, status, _ = self._get({})
        if status != 200:
            raise ServerError(f"{path} answered {status}; expected a page")
        return took

    def refresh(self) -> None:
        """Ask for what has changed since."""
        asked = {HEADER: "true", PARTS: ",".join(self._parts.values())}
        _, _, size = self._get({**asked, **({"If-None-Match": self._etag} if self._etag else {})})
        self.sizes.append(size)

    def watch(self, stopping: threading.Event, delay: float) -> None:
        """Refresh every two seconds, and the strip every second."""
        stopping.wait(delay)
        for turn in itertools.count():
            if stopping.is_set():
                return
            began = time.monotonic()
            if turn % _STRIPS == 0:
                self.refresh()
            self._ask(reverse("admin:status"), {})
            stopping.wait(max(0.0, EVERY / _STRIPS - (time.monotonic() - began)))

    def _ask(self, path: str, headers: dict[str, str]) -> tuple[float, http.client.HTTPResponse, bytes]:
        began = time.monotonic()
        sent = {"Cookie": self.cookie, "Accept-Encoding": "gzip", **headers}
        try:
            self._connection.request("GET", path, headers=sent)
            answer = self._connection.getresponse()
        except ConnectionError:
            # The server closed it while nothing was asked; a browser connects again, too.
            self._connection.close()
            began = time.monotonic()
            self._connection.request("GET", path, headers=sent)
            answer = self._connection.getresponse()
        return time.monotonic() - began, answer, answer.read()

    def _get(self, headers: dict[str, str]) -> tuple[float, int, int]:
        took, answer, body = self._ask(self.path, headers)
        self.first_bytes.append(took)
        if answer.status == 200:
            text = (gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body).decode()
            self._parts = {key: digest or self._parts[key] for key, digest in _PART.findall(text)}
            self._etag = answer.headers.get("ETag") or ""
        return took, answer.status, len(body)
