"""The subnets pods get their addresses from, checked once where they come in."""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from berth.base.errors import InvalidArgument
from berth.linux.netlink import Address, Interface, Network

DEFAULT = ("10.208.0.0/16",)
_SMALLEST = {4: 30, 6: 126}


@dataclass(frozen=True, slots=True)
class Subnet:
    """The first usable address is the gateway's; pods get the ones after it."""

    network: Network

    @property
    def version(self) -> int:
        return self.network.version

    @property
    def gateway(self) -> Address:
        return self.network[1]

    @property
    def gateway_interface(self) -> Interface:
        return ipaddress.ip_interface((self.gateway, self.network.prefixlen))

    @property
    def first(self) -> int:
        return int(self.network.network_address) + 2

    @property
    def size(self) -> int:
        """How many pods it holds: not the network, the gateway, or an IPv4 broadcast address."""
        return self.network.num_addresses - (3 if self.version == 4 else 2)

    def interface(self, address: Address) -> Interface:
        return ipaddress.ip_interface((address, self.network.prefixlen))

    def __str__(self) -> str:
        return str(self.network)


def parse(texts: Sequence[str], what: str = "[network] subnet") -> tuple[Subnet, ...]:
    """One subnet, or one IPv4 and one IPv6; InvalidArgument names the one that is wrong, and
    `what` it was given as."""
    subnets = tuple(_subnet(text, what) for text in texts)
    if not subnets:
        raise InvalidArgument(f"{what} is empty: give one such as 10.208.0.0/16")
    if len({subnet.version for subnet in subnets}) != len(subnets):
        raise InvalidArgument(
            f"{what} {', '.join(texts)}: give at most one IPv4 and one IPv6 subnet"
        )
    return subnets


def mac_of(addresses: Sequence[Address]) -> str:
    """A locally administered MAC that follows from the address, so that neighbours who remember
    an address from a pod before keep reaching it."""
    # 0a: unicast and locally administered. The prefix 0a:58 is known from the CNI plugins.
    first = addresses[0].packed
    tail = first if len(first) == 4 else hashlib.sha256(first).digest()[:4]
    return (b"\x0a\x58" + tail).hex(":")


def _subnet(text: str, what: str) -> Subnet:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{what} {text!r} is not a subnet such as 10.208.0.0/16: {error}"
        ) from None
    if network.prefixlen > _SMALLEST[network.version]:
        raise InvalidArgument(f"{what} {text} is too small for a gateway and a pod")
    if network.is_multicast or network.is_loopback or network.is_link_local:
        raise InvalidArgument(f"{what} {text} is not one that pods can use")
    return Subnet(network)
