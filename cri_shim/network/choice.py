"""Which implementation gives a pod its network; the one that gave it also takes it back."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.base.errors import InvalidArgument, RuntimeFailure
from berth.base.findings import Finding
from berth.linux.tasks import Tasks
from cri_shim.network import subnets
from cri_shim.network.bridge.settings import BridgeSettings
from cri_shim.network.cni.network import CniNetwork, CniSettings
from cri_shim.network.hostports import Claims
from cri_shim.network.none import NoNetwork
from cri_shim.network.pod import Attachment, PodNet, PodNetwork, RecordTable

if TYPE_CHECKING:
    from cri_shim.network.bridge.bridge import NativeBridge

log = logging.getLogger(__name__)


class Mode(Enum):
    AUTO = "auto"
    """CNI where `conf_dir` has a network, else the native bridge; looked at for each pod."""
    CNI = "cni"
    BRIDGE = "bridge"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The table `[network]` of the configuration. `subnet`: at most one IPv4 and one IPv6.

    `mtu` 0 takes that of the default route's link; `plugin_timeout` is in seconds, for one command
    of one CNI plugin. `netns` is where the host's side lives; None is our own namespace.
    """

    mode: str = "auto"
    conf_dir: Path = Path("/etc/cni/net.d")
    bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
    subnet: tuple[str, ...] = subnets.DEFAULT
    bridge: str = "berth0"
    mtu: int = 0
    plugin_timeout: float = 60.0
    netns: str | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "NetworkConfig":
        """From the table of the configuration, after the reader has checked its keys and types."""
        bin_dirs = tuple(map(Path, table["bin_dirs"]))
        return cls(**{**table, "conf_dir": Path(table["conf_dir"]), "bin_dirs": bin_dirs})

    def checked(self) -> tuple[Mode, BridgeSettings, CniSettings]:
        """InvalidArgument names the key that is wrong and what would be accepted."""
        try:
            mode = Mode(self.mode)
        except ValueError:
            modes = ", ".join(mode.value for mode in Mode)
            raise InvalidArgument(f"[network] mode {self.mode!r} is none of {modes}") from None
        if not 0 < len(self.bridge) <= 15 or set(self.bridge) & set('/ ":%'):
            raise InvalidArgument(f"[network] bridge {self.bridge!r} is not a name of a link")
        if self.mtu and not 1280 <= self.mtu <= 65535:
            raise InvalidArgument(f"[network] mtu {self.mtu} is not 0 or in 1280 to 65535")
        if self.plugin_timeout <= 0:
            raise InvalidArgument(f"[network] plugin_timeout {self.plugin_timeout} is not above 0")
        bridge = BridgeSettings(subnets.parse(self.subnet), self.bridge, self.mtu, self.netns)
        cni = CniSettings(self.conf_dir, self.bin_dirs, self.plugin_timeout, netns=self.netns)
        return mode, bridge, cni


class Networks:
    """A `PodNetwork` made of the others; what each pod has is in its record."""

    def __init__(
        self,
        mode: Mode,
        cni: CniNetwork,
        bridge: "NativeBridge | None",
        none: NoNetwork,
        cluster: RecordTable | None,
    ) -> None:
        """`cluster` keeps the pod CIDR; None where the configuration has a subnet of its own."""
        self._cluster = cluster
        self._mode = mode
        self._cni = cni
        self._bridge = bridge
        self._none = none
        self._by_name: dict[str, PodNetwork] = {cni.name: cni, none.name: none}
        if bridge is not None:
            self._by_name[bridge.name] = bridge

    @property
    def chosen(self) -> PodNetwork:
        """The network of the next pod.

        In mode auto a broken network list still counts as CNI: a node that fell back to the bridge
        because of a typing mistake would give its pods addresses that no other node can reach.
        """
        match self._mode:
            case Mode.NONE:
                return self._none
            case Mode.CNI:
                return self._cni
            case Mode.BRIDGE:
                return self._bridge or self._none
            case Mode.AUTO:
                return self._bridge if self._bridge and self._cni.directory.empty else self._cni

    async def attach(self, pod: PodNet) -> Attachment:
        return await self.chosen.attach(pod)

    async def detach(self, pod: PodNet, attachment: Mapping[str, object]) -> None:
        """Without a record (an attach was cut short) every implementation removes what it has."""
        name = attachment.get("implementation")
        # The one that attached the pod, whatever `mode` is today: after a change of mode, or when
        # the first network list appears, older pods are still on their old network.
        network = self._by_name.get(name) if isinstance(name, str) else None
        for one in [network] if network is not None else self._by_name.values():
            await one.detach(pod, attachment)

    async def recover(self, known: Collection[str]) -> None:
        for network in self._by_name.values():
            await network.recover(known)

    def ready(self) -> str | None:
        return self.chosen.ready()

    async def check(self) -> None:
        for network in self._by_name.values():
            await network.check()

    async def use_pod_cidr(self, cidr: str) -> None:
        """Kept over a restart: a kubelet sends it (UpdateRuntimeConfig) when it starts, not when we
        do."""
        subnets.parse(cidr.split(","), "pod CIDR")
        # The bridge first: a range that it refuses must not come back from disk at the next start.
        if self._cluster is not None and self._bridge is not None:
            await self._bridge.use_pod_cidr(cidr)
            self._cluster.put(_CIDR, {"subnets": cidr.split(",")}, durable=True)

    async def findings(self) -> list[Finding]:
        return await self.chosen.findings()

    async def close(self) -> None:
        """Close all implementations."""
        for network in self._by_name.values():
            await network.close()


_CIDR = "pod CIDR"
"""The key of the document."""


def build(
    config: NetworkConfig,
    leases: RecordTable,
    attachments: RecordTable,
    tasks: Tasks,
    cluster: RecordTable | None = None,
) -> Networks:
    """The networks as configured; call it inside the event loop, then `recover`.

    `cluster` keeps what the cluster told us of this node's network. Its range for pods counts
    where the configuration has no subnet but the default one.

    The bridge is there too when it is not configured but pods of before have leases of it.
    """
    mode, bridge_settings, cni_settings = config.checked()
    if config.subnet != subnets.DEFAULT:
        cluster = None
    elif cluster is not None and (kept := cluster.all().get(_CIDR)):
        bridge_settings = replace(bridge_settings, subnets=subnets.parse(kept["subnets"]))
    claims = Claims()
    bridge = None
    if mode in (Mode.AUTO, Mode.BRIDGE) or leases.all():
        # pyroute2 takes 8.5 MB and a tenth of a second: only a daemon with a bridge has it.
        from cri_shim.network.bridge.bridge import NativeBridge

        try:
            bridge = NativeBridge(bridge_settings, leases, claims, tasks)
        except OSError as error:
            # A kernel without nf_tables refuses its socket. In mode auto CNI may still work.
            if mode is Mode.BRIDGE:
                raise RuntimeFailure(f"the native bridge cannot work here: {error}") from error
            log.warning("no native bridge on this host: %s", error)
    cni = CniNetwork(cni_settings, attachments, claims, tasks)
    return Networks(mode, cni, bridge, NoNetwork(), cluster)


async def inspect(config: NetworkConfig) -> list[Finding]:
    """What is wrong with this host's network for pods, without a daemon and changing nothing."""
    async with Tasks() as tasks:
        network = build(config, _Nothing(), _Nothing(), tasks)
        try:
            return await network.findings()
        finally:
            await network.close()


class _Nothing:
    """`RecordTable` of a node without pods."""

    def put(self, key: str, document: dict[str, Any], durable: bool = False) -> None:
        raise AssertionError("an inspection attaches no pod")

    def delete(self, key: str) -> None:
        return None

    def all(self) -> dict[str, dict[str, Any]]:
        return {}
