"""Which pod has which addresses: never two pods one address, also over a restart.

A lease is written before the pod gets its interface and deleted after the interface is cut off.
The search goes on where the last one ended, so that an address rests before its next use.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.base.errors import FailedPrecondition, ResourceExhausted
from berth.linux.netlink import Address
from cri_shim.network.hostports import HostPort
from cri_shim.network.pod import PodNet, RecordTable
from cri_shim.network.subnets import Subnet


@dataclass(frozen=True, slots=True)
class Lease:
    """`link`: the name of the host's end of the pod's pair. `subnets`: those of its addresses."""

    sandbox: str
    pod: str
    link: str
    addresses: tuple[Address, ...]
    ports: tuple[HostPort, ...] = ()
    subnets: tuple[Subnet, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "pod": self.pod,
            "link": self.link,
            "addresses": [str(address) for address in self.addresses],
            "ports": [port.document() for port in self.ports],
            "subnets": [str(subnet) for subnet in self.subnets],
        }

    @classmethod
    def from_document(cls, sandbox: str, document: Mapping[str, Any]) -> "Lease":
        return cls(
            sandbox,
            document["pod"],
            document["link"],
            tuple(ipaddress.ip_address(text) for text in document["addresses"]),
            tuple(HostPort.from_document(port) for port in document["ports"]),
            tuple(Subnet(ipaddress.ip_network(text)) for text in document.get("subnets", ())),
        )


class Leases:
    """All leases, in memory and on disk."""

    def __init__(self, subnets: Sequence[Subnet], documents: RecordTable) -> None:
        self._documents = documents
        self.subnets = tuple(subnets)
        """Those that new pods get addresses of."""
        self._pools = [_Pool(subnet) for subnet in subnets]
        self._leases = {
            sandbox: Lease.from_document(sandbox, document)
            for sandbox, document in documents.all().items()
        }
        for lease in self._leases.values():
            self._mark(lease)

    def __iter__(self) -> Iterator[Lease]:
        return iter(tuple(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, sandbox: str) -> Lease | None:
        return self._leases.get(sandbox)

    @property
    def served(self) -> tuple[Subnet, ...]:
        """The subnets for new pods, then those of before that pods still have addresses of."""
        earlier = (subnet for lease in self._leases.values() for subnet in lease.subnets)
        return tuple(dict.fromkeys((*self.subnets, *earlier)))

    def use(self, subnets: Sequence[Subnet]) -> None:
        """From now on addresses are of these. FailedPrecondition where a pod has an address in one
        of them from a subnet of before: it might be the new one's gateway."""
        for lease in self._leases.values():
            for subnet in subnets:
                if subnet not in lease.subnets and any(
                    a in subnet.network for a in lease.addresses
                ):
                    raise FailedPrecondition(
                        f"subnet {subnet} cannot be used yet: pod {lease.pod} has "
                        f"{', '.join(map(str, lease.addresses))} from a subnet of before; remove it"
                    )
        self.subnets = tuple(subnets)
        self._pools = [_Pool(subnet) for subnet in subnets]
        for lease in self._leases.values():
            self._mark(lease)

    def grant(self, pod: PodNet, ports: tuple[HostPort, ...]) -> Lease:
        """One address of each subnet; ResourceExhausted when one is full, and nothing is taken."""
        taken: list[Address] = []
        try:
            taken.extend(pool.take() for pool in self._pools)
            link = link_name(pod.sandbox_id)
            lease = Lease(pod.sandbox_id, str(pod), link, tuple(taken), ports, self.subnets)
            # Before the pod has an interface: kill -9 after this leaves a lease without a pod, and
            # `recover` releases it; there is never a pod without a lease.
            self._documents.put(pod.sandbox_id, lease.document())
        except BaseException:
            self._free(taken)
            raise
        self._leases[pod.sandbox_id] = lease
        return lease

    def release(self, sandbox: str) -> None:
        lease = self._leases.get(sandbox)
        if lease is None:
            return
        # Disk first: an address that is free in memory only would be given out twice after a crash.
        self._documents.delete(sandbox)
        del self._leases[sandbox]
        self._free(lease.addresses)

    def _mark(self, lease: Lease) -> None:
        for address in lease.addresses:
            for pool in self._pools:
                pool.mark(address)

    def _free(self, addresses: Sequence[Address]) -> None:
        for address in addresses:
            for pool in self._pools:
                pool.free(address)


class _Pool:
    """The addresses of one subnet, as offsets from the first that a pod may have."""

    def __init__(self, subnet: Subnet) -> None:
        self._subnet = subnet
        self._used: set[int] = set()
        self._next = 0

    def take(self) -> Address:
        size = self._subnet.size
        if len(self._used) >= size:
            raise ResourceExhausted(
                f"subnet {self._subnet} is full: {len(self._used)} addresses used, 0 free; remove "
                "pods or give [network] subnet a larger one"
            )
        at = self._next
        while at in self._used:
            at = (at + 1) % size
        self._used.add(at)
        # Round the subnet, not the lowest free one: neighbours, and flows of a pod that has just
        # gone, may go on for some time with the old owner of an address.
        self._next = (at + 1) % size
        return self._subnet.network[at + 2]

    def mark(self, address: Address) -> None:
        """Take this one; nothing happens for an address of a subnet from before."""
        at = self._offset(address)
        # Out of range: an address of an earlier, larger subnet that begins at the same address.
        if address in self._subnet.network and 0 <= at < self._subnet.size:
            self._used.add(at)
            self._next = max(self._next, (at + 1) % self._subnet.size)

    def free(self, address: Address) -> None:
        if address in self._subnet.network:
            self._used.discard(self._offset(address))

    def _offset(self, address: Address) -> int:
        return int(address) - self._subnet.first


LINK_PREFIX = "bv"


def link_name(sandbox: str) -> str:
    """The name of the host's end: from the sandbox id, so that a leftover names its pod.

    15 characters is the most the kernel takes (IFNAMSIZ)."""
    return LINK_PREFIX + sandbox[:12]
