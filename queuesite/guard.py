"""Protection from password guessing: which failed logins lock what, for django-axes.

There are three counters. Each covers the last 15 minutes, and all web processes share it in the relational database:

- a name from one address (PAIR), so that users who mistype lock only themselves, and only there;
- an address for all names (ADDRESS), for IPv6 its /64, which is what one customer gets;
- a name from all addresses (NAME), against guesses that come from everywhere. It does not lock addresses from which
  that user has logged in lately, so that others cannot lock users out by guessing.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt, AccessLog
from django.db.models import Sum
from django.http import HttpRequest
from django.utils import timezone

#: How many failed logins lock.
PAIR, ADDRESS, NAME = 5, 50, 100
#: How long a lock lasts, and how far back failed logins count.
COOL_OFF = timedelta(minutes=15)
#: How long after a login an address counts as one that the user uses.
KNOWN = timedelta(days=30)


def client_address(request: HttpRequest) -> str:
    """The client's address, which uvicorn takes from trusted proxies. For IPv6, the first address of its /64."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR") or "")
    except ValueError:  # a server that listens on a Unix socket has none
        return "0.0.0.0"  # noqa: S104  # a name for what is not known, and nothing to bind to
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
    return str(address)


class Guard(AxesDatabaseHandler):  # type: ignore[misc]  # it has no types
    """Counts by name and address, by address, and by name, each with a limit of its own."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """How near the nearest limit is, on the scale of PAIR, which is the limit that django-axes knows."""
        name, address = get_client_username(request, credentials), client_address(request)
        recent = AccessAttempt.objects.filter(attempt_time__gte=timezone.now() - COOL_OFF)

        def share(limit: int, **of: Any) -> int:
            count: int = recent.filter(**of).aggregate(sum=Sum("failures_since_start"))["sum"] or 0
            return count * PAIR // limit

        found = [share(PAIR, username=name, ip_address=address), share(ADDRESS, ip_address=address)]
        if not _is_known(name, address):
            found.append(share(NAME, username=name))
        return max(found)

    def user_logged_in(self, sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
        """Remember the address as one that the user uses, for as long as KNOWN says."""
        super().user_logged_in(sender, request, user, **kwargs)
        AccessLog.objects.filter(attempt_time__lt=timezone.now() - KNOWN).delete()


def _is_known(name: str | None, address: str) -> bool:
    since = timezone.now() - KNOWN
    known: bool = AccessLog.objects.filter(username=name, ip_address=address, attempt_time__gte=since).exists()
    return known
