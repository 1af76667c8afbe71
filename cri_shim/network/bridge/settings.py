"""What the configuration says about the native bridge."""

from dataclasses import dataclass

from cri_shim.network.subnets import Subnet


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """`netns` None: the host is the namespace we run in. `mtu` 0: that of the uplink."""

    subnets: tuple[Subnet, ...]
    name: str = "berth0"
    mtu: int = 0
    netns: str | None = None
