"""The nftables table of the bridge, as text for `nft -f -`, and its elements as plain values.

Rules never change while pods come and go: a published port is an element of a map. A connection
to a port of the host meets, in this order, the map of single addresses and that of all addresses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from berth.linux.netlink import Address
from cri_shim.model.sandbox import Protocol
from cri_shim.network.hostports import HostPort
from cri_shim.network.subnets import Subnet

_NUMBER = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_FAMILY = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}


@dataclass(frozen=True, slots=True)
class Element:
    """`host` and `port` of the host go to `target` and `target_port` of a pod."""

    protocol: Protocol
    host: Address | None
    port: int
    target: Address
    target_port: int

    @property
    def map(self) -> str:
        return f"{'ports' if self.host is None else 'at'}{self.target.version}"

    @property
    def key(self) -> bytes:
        """As the kernel keeps it: every part padded to four bytes."""
        host = b"" if self.host is None else self.host.packed
        return host + bytes([_NUMBER[self.protocol], 0, 0, 0]) + _port(self.port)

    @property
    def data(self) -> bytes:
        return self.target.packed + _port(self.target_port)

    def __str__(self) -> str:
        host = "" if self.host is None else f"{self.host} . "
        number = _NUMBER[self.protocol]
        return f"{host}{number} . {self.port} : {self.target} . {self.target_port}"


def elements(addresses: Sequence[Address], ports: Iterable[HostPort]) -> list[Element]:
    """What publishes `ports` on a pod's addresses; a family the pod lacks is left out."""
    return [
        Element(port.protocol, port.host, port.port, address, port.target)
        for port in ports
        for address in addresses
        if address.version in port.versions
    ]


def render(table: str, bridge: str, subnets: Sequence[Subnet], entries: Sequence[Element]) -> str:
    """Replaces the whole table at once: packets meet the old one or the new one."""
    versions = sorted({subnet.version for subnet in subnets})
    lines = [
        # Makes the table where there is none: to delete a missing one is an error, and `destroy
        # table` needs Linux 6.3.
        f"table inet {table} {{ }}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        *(line for version in versions for line in _maps(version, entries)),
        *_hostports(versions),
        "chain prerouting { type nat hook prerouting priority -100; policy accept;",
        "  fib daddr type local jump hostports",
        "}",
        "chain output { type nat hook output priority -100; policy accept;",
        # A connection to ::1 cannot leave the loopback interface: the kernel has no
        # route_localnet for IPv6.
        "  ip6 daddr ::1 return",
        "  fib daddr type local jump hostports",
        "}",
        "chain postrouting { type nat hook postrouting priority 100; policy accept;",
        f'  ct status dnat ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade',
        *(line for subnet in subnets for line in _masquerade(subnet, bridge)),
        "}",
        # route_localnet lets the bridge carry replies to 127.0.0.1; a pod must not reach services
        # of the host that listen on localhost alone (CVE-2020-8558 was this, in kube-proxy).
        "chain guard { type filter hook prerouting priority -300; policy accept;",
        f'  iifname "{bridge}" ip daddr 127.0.0.0/8 drop',
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _maps(version: int, entries: Sequence[Element]) -> Iterable[str]:
    target = f"{_TYPE[version]} . inet_service"
    for name, key in (
        (f"ports{version}", "inet_proto . inet_service"),
        (f"at{version}", f"{_TYPE[version]} . inet_proto . inet_service"),
    ):
        inside = ", ".join(str(entry) for entry in entries if entry.map == name)
        filled = f" elements = {{ {inside} }}" if inside else ""
        yield f"map {name} {{ type {key} : {target};{filled} }}"


def _hostports(versions: Iterable[int]) -> Iterable[str]:
    yield "chain hostports {"
    for version in versions:
        family = _FAMILY[version]
        yield f"  dnat {family} to {family} daddr . meta l4proto . th dport map @at{version}"
        yield (
            f"  meta nfproto ipv{version} dnat {family} to meta l4proto . th dport "
            f"map @ports{version}"
        )
    yield "}"


def _masquerade(subnet: Subnet, bridge: str) -> Iterable[str]:
    """A pod that reaches a pod by a port of the host must get the reply by the host: on the bridge
    it would come straight from an address that the first pod never called. And packets that leave
    the node leave with the node's address."""
    family = _FAMILY[subnet.version]
    yield (
        f"  ct status dnat {family} saddr {subnet} {family} daddr {subnet} "
        f'oifname "{bridge}" masquerade'
    )
    yield (
        f'  {family} saddr {subnet} oifname != "{bridge}" '
        f"{family} daddr != {{ {subnet}, {_MULTICAST[subnet.version]} }} masquerade"
    )


def _port(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"
