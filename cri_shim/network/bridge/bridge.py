"""The native bridge: a pod's network in three round trips to the kernel and no process.

Attach:  host ports claimed → lease written → pair made → pod's end set up → host ports opened.
Detach:  host ports closed → pair cut off → lease deleted → (background) pair deleted.
Each step of an attach is undone by the detach of the same sandbox, whichever was the last.
"""

import asyncio
import errno
import logging
from collections.abc import Collection, Mapping

from berth.base.errors import BerthError, RuntimeFailure
from berth.base.findings import Finding
from berth.linux.netlink.connection import NetlinkError
from berth.linux.tasks import Tasks
from cri_shim.network import bandwidth, subnets
from cri_shim.network.bridge import preflight, veth
from cri_shim.network.bridge.device import Bridge, Device
from cri_shim.network.bridge.firewall import Firewall
from cri_shim.network.bridge.leases import LINK_PREFIX, Leases, link_name
from cri_shim.network.bridge.ruleset import elements
from cri_shim.network.bridge.settings import BridgeSettings
from cri_shim.network.bridge.veth import Pair
from cri_shim.network.hostports import Claims
from cri_shim.network.pod import Attachment, PodNet, RecordTable
from cri_shim.network.threads import Threads

log = logging.getLogger(__name__)


class NativeBridge:
    """A `PodNetwork`. Make it inside the running event loop; call `recover` before the rest."""

    name = "bridge"

    def __init__(
        self, settings: BridgeSettings, documents: RecordTable, claims: Claims, tasks: Tasks
    ) -> None:
        self._settings = settings
        self._claims = claims
        self._tasks = tasks
        self._threads = Threads()
        self._leases = Leases(settings.subnets, documents)
        served = self._leases.served
        self._device = Device(settings.name, served, settings.netns, settings.mtu)
        self._firewall = Firewall(settings.name, served, settings.netns, self._threads, tasks)
        self._bridge: Bridge | None = None
        self._preparing = asyncio.Lock()
        self._problem: str | None = None
        self._reaping: asyncio.Task[None] | None = None
        self._cut_off = False

    async def attach(self, pod: PodNet) -> Attachment:
        if self._leases.get(pod.sandbox_id):
            await self.detach(pod, {})
        rates = bandwidth.of(pod.annotations)
        bridge = self._bridge or await self._prepare()
        try:
            ports = self._claims.take(pod.sandbox_id, str(pod), pod.published)
            lease = self._leases.grant(pod, ports)
            await self._wire(bridge, Pair(pod.netns, lease, rates))
            await self._firewall.publish(pod.sandbox_id, elements(lease.addresses, ports))
        except OSError as error:
            await self._undo(pod)
            raise _failed(pod, "attach", error) from error
        except BaseException:  # a cancelled attach as well
            await self._undo(pod)
            raise
        ips = tuple(str(address) for address in lease.addresses)
        record = {"implementation": self.name, "link": lease.link, "ips": list(ips)}
        return Attachment(ips, record)

    async def detach(self, pod: PodNet, attachment: Mapping[str, object]) -> None:
        """Needs neither the namespace nor the record: the lease and the sandbox id suffice."""
        name = link_name(pod.sandbox_id)
        # The lease goes after the link is cut off: its address must not reach two pods. The host
        # ports go before both, so that no new connection is led to an address without a pod.
        try:
            await self._firewall.withdraw(pod.sandbox_id)
            found = await self._threads.call(lambda: self._device.cut_off([name]))
        except OSError as error:
            raise _failed(pod, "detach", error) from error
        self._leases.release(pod.sandbox_id)
        self._claims.drop(pod.sandbox_id)
        if found:
            self._reap_soon()

    async def _undo(self, pod: PodNet) -> None:
        """What cannot be undone now keeps its lease, and `recover` takes it back."""
        try:
            await self.detach(pod, {})
        except BerthError as error:
            log.error("undoing an attach: %s", error)

    async def recover(self, known: Collection[str]) -> None:
        # Unknown leases first: then their links count as leftovers below.
        for lease in self._leases:
            if lease.sandbox not in known:
                self._leases.release(lease.sandbox)
        for lease in self._leases:
            self._claims.put(lease.sandbox, lease.pod, lease.ports)
            self._firewall.expect(lease.sandbox, elements(lease.addresses, lease.ports))
        await self.check()
        try:
            await self._threads.call(self._cut_off_leftovers)
            if not len(self._leases):
                await self._firewall.clear()
        except (BerthError, OSError) as error:
            self._problem = f"what an earlier run left cannot be removed: {error}"
            log.error("%s", self._problem)
        self._reap_soon()

    def ready(self) -> str | None:
        return self._problem or preflight.obstacle()

    async def check(self) -> None:
        """Once the bridge is in use: put right what somebody undid. And where it could not be set
        up, try again: a node that is not ready gets no pod that would."""
        if self._bridge is None and self._problem is None and not len(self._leases):
            return
        try:
            await self._prepare()
        except BerthError as error:
            log.error("%s", error)

    async def use_pod_cidr(self, cidr: str) -> None:
        """New pods get addresses of it; those that are there keep theirs until they go."""
        wanted = subnets.parse(cidr.split(","), "pod CIDR")
        if wanted != self._leases.subnets:
            self._leases.use(wanted)
            log.info("new pods get addresses of %s", cidr)
            if self._bridge is not None or len(self._leases):
                await self._prepare()

    async def findings(self) -> list[Finding]:
        name, netns = self._settings.name, self._settings.netns
        return await self._threads.call(
            lambda: preflight.findings(name, self._leases.subnets, netns)
        )

    async def close(self) -> None:
        if self._reaping is not None:
            await asyncio.wait([self._reaping])
        await self._firewall.close()
        self._device.close()
        self._threads.close()

    async def _prepare(self) -> Bridge:
        """The bridge and the table as they should be; remembers why they are not."""
        async with self._preparing:
            pods = [lease.link for lease in self._leases]
            self._device.subnets = self._firewall.subnets = self._leases.served
            try:
                bridge = await self._threads.call(lambda: self._device.ensure(pods))
                await self._firewall.verify()
            except OSError as error:
                self._problem = f"bridge {self._settings.name} cannot be set up: {error}"
                raise RuntimeFailure(self._problem) from error
            except BerthError as error:
                self._problem = str(error)
                raise
            self._problem = None
            self._bridge = bridge
            return bridge

    async def _wire(self, bridge: Bridge, pair: Pair) -> None:
        """A bridge that somebody deleted comes back; a link of our name is a leftover and goes."""
        try:
            await self._threads.call(lambda: self._wire_now(bridge, pair))
        except NetlinkError as error:
            # ENODEV, EINVAL: the index of the bridge is gone, or another link has it now. EEXIST: a
            # link of this name, of a run before or still waiting for its deletion.
            if error.errno not in (errno.ENODEV, errno.EINVAL, errno.EEXIST):
                raise
            await self._threads.call(lambda: self._device.cut_off([pair.name]))
            await self._threads.call(self._device.reap)
            again = await self._prepare()
            await self._threads.call(lambda: self._wire_now(again, pair))

    def _wire_now(self, bridge: Bridge, pair: Pair) -> None:
        veth.join(self._device.links, bridge, pair)
        veth.set_up(bridge, pair)
        veth.open_up(self._device.links, bridge, pair)

    def _cut_off_leftovers(self) -> None:
        known = [lease.link for lease in self._leases]
        self._device.cut_off(self._device.leftovers(LINK_PREFIX, known))

    def _reap_soon(self) -> None:
        """One deletion at a time: those that come meanwhile share the next."""
        self._cut_off = True
        if self._reaping is None or self._reaping.done():
            self._reaping = self._tasks.start(self._reap(), "deletion of cut off links")

    async def _reap(self) -> None:
        """What cannot be deleted now is cut off already, and goes with the next."""
        while self._cut_off:
            self._cut_off = False
            try:
                await self._threads.call(self._device.reap)
            except OSError as error:
                log.error("%s", error)


def _failed(pod: PodNet, verb: str, error: OSError) -> RuntimeFailure:
    return RuntimeFailure(f"pod {pod}: cannot {verb} its network: {error.strerror or error}")
