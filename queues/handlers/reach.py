"""Which addresses the `http` handler may call: global ones, and those that the configuration names.

Anybody who may edit queues chooses the URL, and the worker is inside the network. Without this rule, they could purge
the embedded SQS, read an instance's credentials, or reach a database's port through it.
"""

from __future__ import annotations

import ipaddress

from queuesite.foundation.config import Config

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Where clouds serve instance metadata, beside the link-local 169.254.169.254: AWS over IPv6, Alibaba, Oracle, Azure.
#: Azure's counts as a global address.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)

# All global unicast of IPv6 is allocated from here (RFC 4291); what an interpreter's tables do not know yet is not.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
#: Prefixes whose last 32 bits are an IPv4 address: NAT64 (RFC 6052), IPv4-translated (RFC 2765), IPv4-compatible.
_ENDING_IN_IPV4 = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96"))
# A network's own NAT64 (RFC 8215) may carry the IPv4 address in several places, so nothing in it is taken for global.
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")


def unwrapped(address: Address) -> tuple[Address, ...]:
    """The addresses that packets to `address` reach: itself, or the IPv4 addresses that it wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo  # its relay and its client
    if int(address) > 1 and any(address in network for network in _ENDING_IN_IPV4):  # not :: and ::1
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def is_global(address: Address) -> bool:
    """Whether `address`, which wraps no other, is on the internet and is not a cloud's metadata address."""
    if address in METADATA_ADDRESSES or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global


def refusal(address: Address, config: Config, host: str = "") -> str | None:
    """Why `address` must not be called, or None if it may be. `host` is the name that resolved to it."""
    if config.http_allow_internal:
        return None
    targets = unwrapped(address)
    if address not in _LOCAL_NAT64 and all(is_global(target) for target in targets):
        return None
    sensitive = any(target.is_link_local or target in METADATA_ADDRESSES for target in targets)
    networks = []
    for entry in config.http_allowed:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            # A name is trusted with whatever its owner lets it resolve to, but for credentials of the machine.
            if entry.lower() == host.lower() and not sensitive:
                return None
    if any(address in network for network in networks):
        return None
    if all(any(target in network for network in networks) for target in targets):
        return None
    kind = "a link-local or metadata address" if sensitive else "an internal address"
    return f"{address} is {kind}; to allow it, name it or its network in HTTP_ALLOWED"
