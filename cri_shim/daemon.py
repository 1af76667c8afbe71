"""Builds everything, once, and passes it in; the only place that does.

Start: records, then what they need, then recovery, then the socket. A client that can connect
finds the truth.
"""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from berth.base import configuration
from berth.base.grpc_server import refuse_if_served
from berth.base.locks import NamedLocks
from berth.base.operations import Operations
from berth.linux import sdnotify
from berth.linux.boot import boot_id
from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.naming import choose_driver
from berth.linux.programs import program_directory
from berth.linux.tasks import Tasks
from berth.pb import runtime_v1_pb2 as cri
from berth.pb import shim_v1_pb2 as shim
from cri_shim.admission.agent import admission_for
from cri_shim.api import server
from cri_shim.api.image_service import ImageService
from cri_shim.api.runtime_service import RuntimeService
from cri_shim.api.shim_service import ShimService
from cri_shim.api.status import Status
from cri_shim.api.stream_service import StreamService
from cri_shim.api.usage_service import UsageService
from cri_shim.config import Config, HandlerConfig
from cri_shim.context import Context, Settings
from cri_shim.images.service import Images
from cri_shim.images.service import Settings as ImageSettings
from cri_shim.network import choice
from cri_shim.recovery.retry import finish_teardowns
from cri_shim.recovery.start import recover
from cri_shim.runtime import host_facts, null_device, probe, subreaper
from cri_shim.runtime.exits import ExitWatcher
from cri_shim.runtime.handler import Handler, Handlers
from cri_shim.runtime.process_documents import ProcessDocuments
from cri_shim.store.directories import Directories
from cri_shim.store.store import Store
from cri_shim.streaming.server import StreamingServer
from cri_shim.streaming.urls import Urls
from cri_shim.upkeep.events import Events
from cri_shim.upkeep.exits import Exits
from cri_shim.upkeep.stops import Stops
from cri_shim.verbs.streams import Streams
from cri_shim.verbs.usage import Usage

log = logging.getLogger("cri_shim")

GRACE = 5.0
"""Seconds for calls in flight when the daemon stops."""

ORPHANS = 1.0
"""Seconds between looks for adopted processes that nobody waits for."""

NETWORK_CHECK = 5.0
"""Seconds between looks at the host's network."""


async def serve(config: Config) -> int:
    """Run until SIGTERM or SIGINT. Containers run on when it ends."""
    _log_to_stderr(config.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        ctx = await build(config, stack)
        # Before the sockets: kubelet's first list after a restart must show what really runs, or it
        # would start pods a second time.
        await recover(ctx)
        ctx.tasks.start(finish_teardowns(ctx), "unfinished teardowns")
        ctx.tasks.start(_look_after_network(ctx), "network check")
        # What a conmon that died leaves behind is adopted by the nearest subreaper: this daemon.
        ctx.tasks.start(subreaper.Orphans().run(ORPHANS), "orphans")
        streams = Streams(ctx)
        streaming = _streaming(config, streams)
        await streaming.start()
        stack.push_async_callback(streaming.close)
        socket = _server(config, ctx, streams, Urls(streaming))
        await socket.start()
        stack.push_async_callback(socket.stop, GRACE)
        # What is there now stays for good. A full collection that looks at all of it, modules and
        # generated messages included, holds the event loop for some 50 ms.
        gc.collect()
        gc.freeze()
        log.info("serving on %s", config.listen)
        # Type=notify: what is ordered after this unit, kubelet above all, finds the socket there.
        sdnotify.notify("READY=1")
        await stop.wait()
        sdnotify.notify("STOPPING=1")
        log.info("stopping; containers run on")
    return 0


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


async def build(config: Config, stack: contextlib.AsyncExitStack) -> Context:
    """All that the verbs work with; `stack` takes it down again, in reverse."""
    # Before anything is touched: two daemons over one state would each undo the other's creates.
    refuse_if_served(Path(config.listen))
    state, root = Path(config.state), Path(config.root)
    # 0711: root of a pod's user namespace passes them on the way to its root directory.
    for directory in (state, root):
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    directories = Directories(state)
    # The host. Programs need a mount without noexec, whatever /run is mounted with; a subreaper
    # must be one before the first process is started.
    stack.enter_context(program_directory(directories.programs))
    subreaper.become_subreaper()
    cgroups = detect()
    # The records. Tasks end before the store closes, since the stack goes in reverse.
    tasks = await stack.enter_async_context(Tasks())
    store = Store(root / "state.db")
    stack.callback(store.close)
    # What the verbs drive.
    images = _images(config, store, tasks)
    stack.push_async_callback(images.close)
    lease, attachment, cluster = map(store.documents, ("lease", "attachment", "cluster"))
    table = choice.NetworkConfig.of(dataclasses.asdict(config.network))
    network = choice.build(table, lease, attachment, tasks, cluster)
    stack.push_async_callback(network.close)
    admission = admission_for(config.admission.mode, config.admission.socket, tasks)
    stack.push_async_callback(admission.close)
    handlers = await _handlers(config, directories, await asyncio.to_thread(images.maps_ids))
    # What goes on beside the calls.
    watcher = ExitWatcher(tasks)
    stack.callback(watcher.close)
    events = Events(time.time_ns, store)
    exits = Exits(store, watcher, tasks, events, cgroups, handlers, directories)
    return Context(
        store=store,
        directories=directories,
        tasks=tasks,
        images=images,
        network=network,
        handlers=handlers,
        cgroups=cgroups,
        exits=exits,
        stops=Stops(store, exits, cgroups, tasks),
        events=events,
        admission=admission,
        settings=Settings(
            driver=choose_driver(config.cgroup_driver),
            create_timeout=config.runtime.create_timeout,
            mount_timeout=config.runtime.mount_timeout,
            apparmor_profile=config.runtime.apparmor_profile,
            cdi_dirs=config.runtime.cdi_dirs,
        ),
        host=host_facts.read(cgroups),
        boot=boot_id(),
        clock=time.time_ns,
        process_documents=ProcessDocuments(),
        locks=NamedLocks(),
        sandbox_operations=Operations(tasks),
        container_operations=Operations(tasks),
    )


def _images(config: Config, store: Store, tasks: Tasks) -> Images:
    settings = ImageSettings(
        mirrors=config.images.mirrors,
        plain_http=frozenset(config.images.insecure_registries),
        downloads=config.images.max_concurrent_downloads,
        certs_dir=Path(config.images.certs_dir),
    )
    return Images(
        Path(config.root),
        store.documents("image"),
        store.documents("layer"),
        tasks,
        lambda: _images_in_use(store),
        settings,
    )


def _images_in_use(store: Store) -> Mapping[str, str]:
    """Image id to the name of a container that needs it."""
    return {
        image: f"{container.name} ({container.id[:12]})"
        for container in store.view.containers.values()
        for image in (container.image_id, *container.image_mounts)
    }


async def _handlers(config: Config, directories: Directories, maps_ids: bool) -> Handlers:
    """Each configured handler, tried on this host; a broken one stops the daemon with its message.

    Without `maps_ids` none has user namespaces, whatever the binary can do.
    """
    # By making a container with it, not by its version: seccomp, cgroups and namespaces of this
    # host decide what works, and a node that cannot run pods should fail here.
    systemd = choose_driver(config.cgroup_driver).value == "systemd"
    scratch = directories.programs / "probe"
    scratch.mkdir(exist_ok=True, mode=0o700)
    configured = {"default": HandlerConfig(), **config.runtime.handlers}
    found: dict[str, Handler] = {}
    for name, handler in configured.items():
        root = directories.state / "runtime" / name
        if handler.type == "auto" and not handler.binary:
            found[name] = await probe.choose_default(root, scratch, systemd)
        else:
            binary = handler.binary or handler.type
            found[name] = await probe.probe(name, binary, root, scratch, systemd)
        if not maps_ids:
            features = dataclasses.replace(found[name].features, user_namespaces=False)
            found[name] = dataclasses.replace(found[name], features=features)
        found[name] = null_device.prepare(found[name], directories.programs)
        log.info("handler %s: %s", name, found[name].binary)
    scratch.rmdir()
    return Handlers(found, config.runtime.default)


def _streaming(config: Config, streams: Streams) -> StreamingServer:
    host, _, port = config.streaming.listen.rpartition(":")
    certificate, key = config.streaming.tls_cert, config.streaming.tls_key
    return StreamingServer(
        streams,
        host.strip("[]"),
        int(port),
        Path(certificate) if certificate else None,
        Path(key) if key else None,
    )


async def _look_after_network(ctx: Context) -> None:
    """Put right what others undo (a firewall reload), and know why the network is not ready."""
    # Polled: neither nftables nor a CNI directory tells in a way that all hosts have.
    while True:
        try:
            await ctx.network.check()
        except Exception:
            log.exception("checking the network")
        await asyncio.sleep(NETWORK_CHECK)


def _server(config: Config, ctx: Context, streams: Streams, urls: Urls) -> server.Server:
    status = Status(ctx, configuration.render(config))
    services = [
        server.handlers(
            cri.DESCRIPTOR.services_by_name["RuntimeService"],
            RuntimeService(ctx, status),
            UsageService(ctx, Usage(ctx)),
            StreamService(ctx, streams, urls),
        ),
        server.handlers(cri.DESCRIPTOR.services_by_name["ImageService"], ImageService(ctx)),
        server.handlers(shim.DESCRIPTOR.services_by_name["Shim"], ShimService(ctx)),
    ]
    return server.Server(Path(config.listen), services)
