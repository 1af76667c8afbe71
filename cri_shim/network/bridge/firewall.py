"""Our nftables table in the kernel: laid down whole, its maps changed by element, and restored
when a reload of the host's firewall takes it away."""

import asyncio
import errno
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from berth.base.errors import RuntimeFailure
from berth.linux import processes
from berth.linux.netlink.connection import NetlinkError, received
from berth.linux.tasks import Tasks
from cri_shim.model.sandbox import Protocol
from cri_shim.network.bridge import conntrack, nfnetlink, ruleset
from cri_shim.network.bridge.ruleset import Element
from cri_shim.network.subnets import Subnet
from cri_shim.network.threads import Threads, entering, inside

log = logging.getLogger(__name__)

TABLE = "berth"
_NFT_S = 20
_ROUNDS = 5


class Firewall:
    """The table `inet berth` of one network namespace, and what it should hold."""

    def __init__(
        self,
        bridge: str,
        subnets: Sequence[Subnet],
        netns: str | None,
        threads: Threads,
        tasks: Tasks,
    ) -> None:
        self._bridge = bridge
        self.subnets = tuple(subnets)
        """Those whose packets are masqueraded; a change takes effect with `verify`."""
        self._laid: tuple[Subnet, ...] = ()
        self._netns = netns
        self._threads = threads
        self._tasks = tasks
        self._published: dict[str, tuple[Element, ...]] = {}
        self._restoring = asyncio.Lock()
        self._rules = 0
        self._guard: asyncio.Task[None] | None = None
        self._stale: set[int] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._kernel = inside(netns, nfnetlink.connect)
        # Of its own: a walk of the connection table would keep an attach waiting for the socket.
        self._flows = inside(netns, nfnetlink.connect)
        self._monitor = inside(netns, nfnetlink.monitor)
        asyncio.get_running_loop().add_reader(self._monitor.socket.fileno(), self._changed)

    async def close(self) -> None:
        for task in (self._guard, self._sweeping):
            if task is not None:
                await asyncio.wait([task])
        asyncio.get_running_loop().remove_reader(self._monitor.socket.fileno())
        self._kernel.close()
        self._flows.close()
        self._monitor.close()

    def expect(self, sandbox: str, entries: Sequence[Element]) -> None:
        """Note what belongs in the table, without putting it there; `restore` does."""
        if entries:
            self._published[sandbox] = tuple(entries)

    async def publish(self, sandbox: str, entries: Sequence[Element]) -> None:
        """Open a pod's host ports, all or none."""
        if not entries:
            return
        self.expect(sandbox, entries)
        try:
            await self._threads.call(lambda: nfnetlink.add(self._kernel, TABLE, entries))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            await self.restore("is gone")
        self._forget_flows(entries)

    async def withdraw(self, sandbox: str) -> None:
        """Close a pod's host ports and end its UDP flows."""
        # From memory first: a restore at this moment must not publish them again.
        entries = self._published.pop(sandbox, ())
        if entries:
            await self._threads.call(lambda: nfnetlink.remove(self._kernel, TABLE, entries))
            self._forget_flows(entries)

    async def verify(self) -> None:
        """Restore the table where it is not as we laid it down."""
        if not self._rules or self._laid != self.subnets:
            await self.restore()
        elif await self._threads.call(self._count) != self._rules:
            await self.restore("is not there")

    async def clear(self) -> None:
        """With no pod left: close what a killed daemon left open."""
        if await self._threads.call(self._count):
            await self.restore()

    async def restore(self, why: str | None = None) -> None:
        """Lay the table down with everything published in it."""
        if why:
            log.warning("nftables table inet %s %s: laying it down again", TABLE, why)
        async with self._restoring:
            # Pods come and go while nft runs, and a firewall may be reloaded again meanwhile.
            for _ in range(_ROUNDS):
                before = dict(self._published)
                await self._lay_down([entry for entries in before.values() for entry in entries])
                await self._catch_up(before)
                while self._hear() is not None:
                    pass
                self._rules = await self._threads.call(self._count)
                if self._rules:
                    return
        raise RuntimeFailure(
            f"nftables table inet {TABLE} does not stay: something removes it at once; see "
            "`nft monitor` for who"
        )

    async def _catch_up(self, before: Mapping[str, tuple[Element, ...]]) -> None:
        """What changed while the table was laid down may have gone into the one it replaced; what
        changes from now on goes into the new one."""
        now = dict(self._published)
        late = {sandbox: own for sandbox, own in now.items() if before.get(sandbox) != own}
        gone = [own for sandbox, own in before.items() if now.get(sandbox) != own]
        await self._threads.call(partial(self._change, gone, list(late.values())))
        left = [own for sandbox, own in late.items() if sandbox not in self._published]
        await self._threads.call(partial(self._change, left, ()))

    def _change(self, gone: Iterable[Sequence[Element]], late: Iterable[Sequence[Element]]) -> None:
        for entries in gone:
            nfnetlink.remove(self._kernel, TABLE, entries)
        try:
            for entries in late:
                nfnetlink.add(self._kernel, TABLE, entries)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:  # the table is gone again: the count will tell
                raise

    async def _lay_down(self, entries: Sequence[Element]) -> None:
        laid = self.subnets
        text = ruleset.render(TABLE, self._bridge, laid, entries)
        argv = [*entering(self._netns), "nft", "-f", "-"]
        try:
            result = await processes.run(argv, input=text.encode(), timeout=_NFT_S)
        except FileNotFoundError as error:
            raise RuntimeFailure(
                f"cannot set up host ports and masquerading: {error.filename} is not installed; "
                "install the package nftables"
            ) from error
        except TimeoutError as error:
            raise RuntimeFailure(f"cannot lay down the nftables table: {error}") from error
        if result.code:
            message = result.stderr.decode(errors="replace").strip()
            raise RuntimeFailure(f"cannot lay down the nftables table inet {TABLE}: nft: {message}")
        self._laid = laid

    def _forget_flows(self, entries: Sequence[Element]) -> None:
        """In the background: it takes longer than the rest of an attach."""
        ports = {entry.port for entry in entries if entry.protocol is Protocol.UDP}
        if ports:
            self._stale |= ports
            if self._sweeping is None or self._sweeping.done():
                self._sweeping = self._tasks.start(self._sweep(), "end of UDP flows")

    async def _sweep(self) -> None:
        while self._stale:
            ports = frozenset(self._stale)
            self._stale.clear()
            await self._threads.call(partial(conntrack.forget_flows, self._flows, ports))

    def _count(self) -> int:
        return nfnetlink.rules(self._kernel, TABLE)

    def _hear(self) -> bool | None:
        """Read one datagram of the monitor, None when there is none; whether by it somebody else
        took something of ours away."""
        ours = self._kernel.port_id
        try:
            data = self._monitor.socket.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # changes came faster than they were read: what was lost may be ours
        return any(
            change.sender != ours and nfnetlink.is_deletion(change, TABLE)
            for change in received(data)
        )

    def _changed(self) -> None:
        """Changes heard while the table is laid down are mostly our own (`nft` is a process with a
        port id of its own): there the count of rules decides.

        One datagram a call, so that a reload of a large firewall does not keep the event loop.
        """
        taken = self._hear() and not self._restoring.locked()
        if taken and (self._guard is None or self._guard.done()):
            self._guard = self._tasks.start(self._restore_soon(), "nftables guard")

    async def _restore_soon(self) -> None:
        try:
            await self.restore("was changed by something else")
        except (RuntimeFailure, OSError) as error:
            log.error("%s", error)


def nft_missing() -> bool:
    return shutil.which("nft") is None
