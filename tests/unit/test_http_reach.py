"""Which addresses the `http` handler may call."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from queues.handlers.reach import refusal, unwrapped
from tests.conftest import Configure

INTERNAL = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.1.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "5f00::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
]
GLOBAL = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"]


def wrapped(v4: str) -> dict[str, str]:
    """An IPv4 address in each of the forms that IPv6 has for it."""
    a, b, c, d = ip_address(v4).packed
    high, low = f"{a << 8 | b:x}", f"{c << 8 | d:x}"
    return {
        "mapped": f"::ffff:{v4}",
        "compatible": f"::{v4}",
        "translated": f"::ffff:0:{v4}",
        "NAT64": f"64:ff9b::{v4}",
        "6to4": f"2002:{high}:{low}::1",
        "Teredo client": f"2001:0:101:101:0:0:{(a << 8 | b) ^ 0xFFFF:x}:{(c << 8 | d) ^ 0xFFFF:x}",
        "Teredo server": f"2001:0:{high}:{low}:0:0:fefe:fefe",
    }


FORMS = list(wrapped("1.1.1.1"))


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_refused(configure: Configure, address: str) -> None:
    said = refusal(ip_address(address), configure())

    assert said == f"{ip_address(address)} is an internal address; to allow it, name it or its network in HTTP_ALLOWED"


@pytest.mark.parametrize("address", METADATA)
def test_metadata_addresses_are_refused(configure: Configure, address: str) -> None:
    assert "link-local or metadata address" in (refusal(ip_address(address), configure()) or "")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("v4", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "224.0.0.1"])
def test_no_form_of_ipv6_hides_an_internal_address(configure: Configure, v4: str, form: str) -> None:
    address = ip_address(wrapped(v4)[form])

    assert ip_address(v4) in unwrapped(address)
    assert refusal(address, configure())


@pytest.mark.parametrize("form", FORMS)
def test_form_of_ipv6_of_a_global_address_may_be_called(configure: Configure, form: str) -> None:
    assert refusal(ip_address(wrapped("93.184.216.34")[form]), configure()) is None


@pytest.mark.parametrize("address", ["64:ff9b:1::1.1.1.1", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:fffe::10.0.0.1"])
def test_nat64_of_ones_own_is_refused_whatever_it_wraps(configure: Configure, address: str) -> None:
    assert refusal(ip_address(address), configure())


@pytest.mark.parametrize("address", GLOBAL)
def test_global_addresses_may_be_called(configure: Configure, address: str) -> None:
    assert refusal(ip_address(address), configure()) is None


class TestAllowed:
    @pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::5"])
    def test_network(self, configure: Configure, address: str) -> None:
        config = configure(http_allowed="10.1.0.0/16,fd00:1::/32")

        assert refusal(ip_address(address), config) is None

    @pytest.mark.parametrize("address", ["10.2.0.1", "127.0.0.1", "::1", "fd00:2::5", "::ffff:10.2.0.1"])
    def test_network_allows_no_other(self, configure: Configure, address: str) -> None:
        assert refusal(ip_address(address), configure(http_allowed="10.1.0.0/16,fd00:1::/32"))

    def test_host_with_what_it_resolves_to(self, configure: Configure) -> None:
        config = configure(http_allowed="Hooks.internal")

        assert refusal(ip_address("10.0.0.7"), config, "hooks.INTERNAL") is None
        assert refusal(ip_address("10.0.0.7"), config, "other.internal")

    @pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
    def test_host_may_not_lead_to_metadata(self, configure: Configure, address: str) -> None:
        assert refusal(ip_address(address), configure(http_allowed="hooks.internal"), "hooks.internal")

    def test_network_of_metadata_may_be_named(self, configure: Configure) -> None:
        assert refusal(ip_address("169.254.170.2"), configure(http_allowed="169.254.170.2")) is None

    @pytest.mark.parametrize("address", [*INTERNAL, *METADATA])
    def test_everything(self, configure: Configure, address: str) -> None:
        assert refusal(ip_address(address), configure(http_allow_internal=1)) is None
