"""What would keep the native bridge from working on this host, with remedies."""

from collections.abc import Sequence

from berth.base.findings import Finding
from berth.linux.netlink import link, route
from berth.linux.netlink.connection import Netlink
from berth.linux.netlink.route import Route
from cri_shim.network.bridge import nfnetlink
from cri_shim.network.bridge.device import forwards, taken
from cri_shim.network.bridge.firewall import nft_missing
from cri_shim.network.subnets import Subnet
from cri_shim.network.threads import inside


def obstacle() -> str | None:
    """Why no pod can be attached, as far as can be told at once."""
    if nft_missing():
        return "the native bridge needs the program nft, which is not installed (package nftables)"
    return None


def findings(bridge: str, subnets: Sequence[Subnet], netns: str | None) -> list[Finding]:
    """Blocking: reads the host's routes and settings."""
    found = []
    if why := obstacle():
        found.append(Finding.error(why, "apt-get install nftables"))
    found += inside(netns, lambda: _taken(bridge))
    found += [_not_forwarding(s.version) for s in subnets if not forwards(netns, bridge, s.version)]
    found += inside(netns, lambda: _overlaps(bridge, subnets))
    found += inside(netns, _dropping)
    return found


def _taken(bridge: str) -> list[Finding]:
    connection = Netlink()
    try:
        found = [one for one in link.dump(connection) if one.name == bridge]
    finally:
        connection.close()
    remedy = "see the message; pods get a network as soon as it is put right"
    return [Finding.error(why, remedy) for one in found if (why := taken(one))]


def _not_forwarding(version: int) -> Finding:
    name = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
    return Finding.warning(
        f"forwarding of IPv{version} is off on this host: packets of pods stay on the node",
        "the native bridge switches it on, for the links that have an address, with the first "
        f"pod; sysctl {name}=1 does it for the whole host",
    )


def _overlaps(bridge: str, subnets: Sequence[Subnet]) -> list[Finding]:
    connection = Netlink()
    try:
        names = {one.index: one.name for one in link.dump(connection)}
        routes = route.dump(connection)
    finally:
        connection.close()
    return [
        Finding.warning(
            f"subnet {subnet} overlaps the host's route {there.destination} on "
            f"{names.get(there.link, '?')}: pods or that network will not be reached",
            "give [network] subnet a range that this host has no route to",
        )
        for subnet in subnets
        # Routes of our own bridge are those of its subnets.
        for there in routes
        if names.get(there.link) != bridge and _meets(there, subnet)
    ]


def _dropping() -> list[Finding]:
    connection = nfnetlink.connect()
    try:
        chains = nfnetlink.dropping_forward_chains(connection)
    finally:
        connection.close()
    return [
        Finding.warning(
            f"the firewall drops what this host forwards (policy of chain {chain}): pods reach "
            "nothing outside the node unless a rule there lets them",
            f"let the pods' subnet through in chain {chain}, or give the chain the policy accept",
        )
        for chain in chains
    ]


def _meets(there: Route, subnet: Subnet) -> bool:
    network = there.destination
    return (
        network.prefixlen > 0
        and network.version == subnet.version
        and network.overlaps(subnet.network)
        and not (network.version == 6 and network.is_link_local)
    )
