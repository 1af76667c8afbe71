"""Pods on CNI networks: chains of plugins, records of what they did, and DEL until it works."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from berth.base.errors import BerthError, DeadlineExceeded, FailedPrecondition, RuntimeFailure
from berth.base.findings import Finding
from berth.linux import namespaces
from berth.linux.tasks import Tasks
from cri_shim.network.cni import capabilities, result
from cri_shim.network.cni.conflist import ConfDirectory, ConfList
from cri_shim.network.cni.plugins import Call, Plugins
from cri_shim.network.cni.record import Record, Stage
from cri_shim.network.hostports import Claims
from cri_shim.network.pod import INTERFACE, Attachment, PodNet, RecordTable
from cri_shim.network.threads import Threads

log = logging.getLogger(__name__)

_NS_GET_NSTYPE = 0xB703
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_AT_ONCE = 8
"""Deletions in the background: after a reboot every pod of before has one."""


@dataclass(frozen=True, slots=True)
class CniSettings:
    """`deadline`: seconds for one command of one plugin. `netns`: the host's, None is our own."""

    conf_dir: Path
    bin_dirs: tuple[Path, ...]
    deadline: float = 60.0
    retry: float = _FIRST_RETRY_S
    netns: str | None = None


class CniNetwork:
    """A `PodNetwork`."""

    name = "cni"

    def __init__(
        self, settings: CniSettings, documents: RecordTable, claims: Claims, tasks: Tasks
    ) -> None:
        self.directory = ConfDirectory(settings.conf_dir)
        self._settings = settings
        self._documents = documents
        self._claims = claims
        self._tasks = tasks
        self._threads = Threads()
        self._plugins = Plugins(settings.bin_dirs, settings.netns, settings.deadline)
        self._records = {
            sandbox: Record.from_document(sandbox, document)
            for sandbox, document in documents.all().items()
        }
        self._background = asyncio.Semaphore(_AT_ONCE)
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._unwell: tuple[ConfList, str] | None = None

    async def attach(self, pod: PodNet) -> Attachment:
        if pod.sandbox_id in self._records:
            await self._finish(pod.sandbox_id)
        if why := self._obstacle():
            raise FailedPrecondition(f"pod {pod}: {why}")
        conflist = self.directory.current()
        assert conflist is not None  # else there was an obstacle
        runtime = capabilities.runtime_config(pod)
        _warn_of_ports(pod, conflist)
        ports = self._claims.take(pod.sandbox_id, str(pod), pod.published)
        arguments = capabilities.arguments(pod)
        record = Record(pod.sandbox_id, str(pod), pod.netns, arguments, conflist, runtime, ports)
        try:
            # Before the first plugin runs: after a kill -9 in the middle of a chain the record is
            # all that tells which plugins may have done something.
            self._keep(record)
            # The plugin loopback is in no list that Kubernetes ships; runtimes do its work.
            await self._threads.call(
                lambda: namespaces.run_inside(pod.netns, namespaces.loopback_up)
            )
            record = replace(record, result=await self._add(record))
            ips = result.addresses(record.result or {}, conflist.name)
            self._keep(record.at(Stage.ADDED))
        except OSError as error:
            await self._undo(pod, record, error)
            raise RuntimeFailure(f"pod {pod}: {error}") from error
        except BerthError as error:
            await self._undo(pod, record, error)
            raise type(error)(f"pod {pod}: {error}") from error
        except BaseException as error:
            await self._undo(pod, record, error)
            raise
        return Attachment(ips, {"implementation": self.name, **record.document()})

    async def _undo(self, pod: PodNet, record: Record, error: BaseException) -> None:
        """DEL at once, but in the background where a plugin hung: it may do so again."""
        self._keep(record)
        if isinstance(error, DeadlineExceeded):
            self._retry(pod.sandbox_id, 0)
        else:
            await self.detach(pod, {})

    async def detach(self, pod: PodNet, attachment: Mapping[str, object]) -> None:
        """Never fails: a DEL that does not work now is tried again in the background, after a
        restart too, and shows in `findings`."""
        record = self._records.get(pod.sandbox_id)
        # Two DEL of one container at the same time are not allowed by the specification.
        if record is None or pod.sandbox_id in self._retries:
            return
        self._keep(record.at(Stage.DELETING))
        try:
            await self._delete(self._records[pod.sandbox_id])
        except BerthError as error:
            log.warning("pod %s: %s; it will be tried again", pod, error)
            self._retry(pod.sandbox_id, self._settings.retry)

    async def verify(self, sandbox: str) -> None:
        """CHECK (0.4.0 and later): whether the pod's network is as its plugins left it.
        RuntimeFailure with a plugin's message where it is not."""
        record = self._records.get(sandbox)
        if record is None or record.conflist.disable_check or not record.conflist.since("0.4.0"):
            return
        for plugin in record.conflist.plugins:
            config = record.config(plugin, record.result)
            await self._plugins.run("CHECK", plugin.type, config, _call(record))

    async def recover(self, known: Collection[str]) -> None:
        for sandbox, record in self._records.items():
            if sandbox not in known or record.stage is Stage.DELETING:
                self._retry(sandbox, 0)
            self._claims.put(sandbox, record.pod, record.ports)
        conflist = self.directory.current()
        if conflist is not None and conflist.since("1.1.0"):
            self._tasks.start(self._collect(conflist), "CNI garbage collection")

    def ready(self) -> str | None:
        return self._obstacle()

    async def check(self) -> None:
        conflist = self.directory.current()
        if conflist is None:
            return
        try:
            await self._ask(conflist)
            self._unwell = None
        except (BerthError, OSError) as error:
            self._unwell = (conflist, str(error))

    async def use_pod_cidr(self, cidr: str) -> None:
        """Nothing to do: the plugins have their own ranges."""

    async def findings(self) -> list[Finding]:
        await self.check()
        found = []
        remedy = "see the message; pods get a network as soon as it is put right, without a restart"
        if why := self._obstacle():
            found.append(Finding.error(why, remedy))
        for problem in self.directory.problems:
            text = f"a file of a CNI network is ignored: {problem}"
            found.append(Finding.warning(text, "correct the file or remove it"))
        for sandbox in self._retries:
            text = f"CNI DEL for pod {self._records[sandbox].pod} has not worked yet"
            found.append(Finding.warning(text, "see the log for the plugin's message"))
        return found

    async def close(self) -> None:
        for task in self._retries.values():
            task.cancel()
        if self._retries:
            await asyncio.wait(list(self._retries.values()))
        self._threads.close()

    def _obstacle(self) -> str | None:
        conflist = self.directory.current()
        if conflist is None:
            files = "; ".join(self.directory.problems) or "it has no .conflist, .conf or .json file"
            return f"no CNI network in {self.directory.directory}: {files}"
        for plugin in conflist.plugins:
            if self._plugins.find(plugin.type) is None:
                return f"{conflist.path}: {self._plugins.missing(plugin.type)}"
        if self._unwell and self._unwell[0] == conflist:
            return self._unwell[1]
        return None

    async def _ask(self, conflist: ConfList) -> None:
        """Versions that plugins know; from 1.1.0 on whether they could attach a pod."""
        for plugin in conflist.plugins:
            known = await self._plugins.versions(plugin.type)
            if conflist.version not in known:
                raise RuntimeFailure(
                    f"{conflist.path} says cniVersion {conflist.version}, but plugin {plugin.type} "
                    f"knows {', '.join(known)}: change cniVersion or update the plugin"
                )
            if conflist.since("1.1.0"):
                config = {**plugin.config, "name": conflist.name, "cniVersion": conflist.version}
                await self._plugins.run("STATUS", plugin.type, config, None)

    async def _add(self, record: Record) -> Mapping[str, Any]:
        previous: Mapping[str, Any] | None = None
        for plugin in record.conflist.plugins:
            config = record.config(plugin, previous)
            previous = await self._plugins.run("ADD", plugin.type, config, _call(record))
        assert previous is not None  # a list has a plugin, and ADD a result
        return previous

    async def _delete(self, record: Record) -> None:
        """DEL of every plugin, the last one first. An error is raised after all were called: one
        that fails must not keep the others from freeing addresses and ports."""
        # DEL gets the result of ADD since version 0.4.0 of the specification.
        previous = record.result if record.conflist.since("0.4.0") else None
        errors = []
        for plugin in reversed(record.conflist.plugins):
            config = record.config(plugin, previous)
            try:
                await self._plugins.run("DEL", plugin.type, config, _call(record))
            except BerthError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        # Last: after a crash before this line DEL is repeated, which plugins should accept even if
        # resources are missing (CNI specification, section 2, "DEL").
        self._documents.delete(record.sandbox)
        self._records.pop(record.sandbox, None)
        self._claims.drop(record.sandbox)

    def _keep(self, record: Record) -> None:
        self._documents.put(record.sandbox, record.document())
        self._records[record.sandbox] = record

    def _retry(self, sandbox: str, pause: float) -> None:
        if sandbox not in self._retries:
            task = self._tasks.start(self._until_deleted(sandbox, pause), f"CNI DEL {sandbox[:13]}")
            self._retries[sandbox] = task
            task.add_done_callback(lambda _: self._retries.pop(sandbox, None))

    async def _until_deleted(self, sandbox: str, pause: float) -> None:
        while (record := self._records.get(sandbox)) is not None:
            await asyncio.sleep(pause)
            try:
                async with self._background:
                    self._keep(record.at(Stage.DELETING))
                    await self._delete(record)
            except BerthError as error:
                pause = min(max(2 * pause, self._settings.retry), _LONGEST_RETRY_S)
                log.warning("%s; next try in %g s", error, pause)

    async def _finish(self, sandbox: str) -> None:
        """Take off what an earlier attach of the same sandbox left, now or with an error."""
        retry = self._retries.get(sandbox)
        if retry is not None:
            retry.cancel()
            await asyncio.wait([retry])
        if record := self._records.get(sandbox):
            try:
                await self._delete(record)
            except BerthError:
                self._retry(sandbox, self._settings.retry)
                raise

    async def _collect(self, conflist: ConfList) -> None:
        """GC (1.1.0): plugins drop what belongs to no attachment of ours."""
        valid = [{"containerID": sandbox, "ifname": INTERFACE} for sandbox in self._records]
        for plugin in conflist.plugins:
            config = {
                **plugin.config,
                "name": conflist.name,
                "cniVersion": conflist.version,
                "cni.dev/valid-attachments": valid,
            }
            run = partial(self._plugins.run, "GC", plugin.type, config, None)
            try:
                await run()
            except BerthError as error:
                log.warning("%s", error)


def _warn_of_ports(pod: PodNet, conflist: ConfList) -> None:
    if pod.published and not any("portMappings" in p.capabilities for p in conflist.plugins):
        log.warning(
            "pod %s asks for host port %d, but no plugin of %s publishes ports (capability "
            "portMappings)", pod, pod.published[0].host_port, conflist.path
        )  # fmt: skip


def _call(record: Record) -> Call:
    # Without CNI_NETNS a DEL frees addresses and ports, and leaves out what is in the namespace.
    netns = record.netns if _is_netns(record.netns) else ""
    return Call(record.sandbox, netns, INTERFACE, record.arguments)


def _is_netns(path: str) -> bool:
    """After a reboot the file may still be there, with no namespace mounted on it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) > 0
    except OSError:
        return False
    finally:
        os.close(fd)
