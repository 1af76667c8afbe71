"""A node in a network namespace of its own, another machine on its wire, and a daemon on the node.

The daemon runs with `nsenter --net`: what it makes on "its host" is in that namespace, and goes
with it. Mounts are the test's, so a pod's pinned namespace can be entered from the test.
"""

import contextlib
import json
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.linux import files, mounts
from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.hosts import Hosts, sh, wire
from tests.support import pods
from tests.support.shim import Shim

SUBNETS = ("10.77.0.0/24", "fd77::/64")
LINK = "bv"
"""How the names of the host's ends of pods' pairs begin."""


@dataclass
class Node:
    """The daemon `shim` on `hosts.host`; `hosts.other` has 192.0.2.2 and 2001:db8::2."""

    shim: Shim
    hosts: Hosts

    def boot(self) -> None:
        """Start the daemon in the namespace of its host."""
        self.shim.prefix = ("nsenter", f"--net={self.hosts.host}", "--")
        self.shim.start()

    def power_cut(self) -> None:
        """The daemon and the host go down at once. The disk stays, and with it the records, which
        are of another boot from now on; namespaces, links, rules, mounts and /run are gone."""
        self.shim.stop(signal.SIGKILL)
        with contextlib.closing(sqlite3.connect(self.shim.root / "state.db")) as db, db:
            for table in ("sandboxes", "containers"):
                db.execute(f"UPDATE {table} SET document = json_set(document, '$.boot', 'before')")
            db.execute("UPDATE meta SET value = 'before' WHERE key = 'boot'")
        _unmount(self.shim)
        files.remove_tree(self.shim.state)
        self.hosts.close()
        self.hosts = _host(self.hosts.directory.parent)

    def run(self, config: cri.PodSandboxConfig | None = None, handler: str = "") -> str:
        return pods.run_pod(self.shim, config or pod_config(), handler)

    def remove(self, *ids: str) -> None:
        for id_ in ids:
            self.shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=id_))

    def status(self, id_: str) -> cri.PodSandboxStatus:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=id_)
        return self.shim.runtime.PodSandboxStatus(request).status

    def ips(self, id_: str) -> list[str]:
        """As the client sees them, the first one first."""
        network = self.status(id_).network
        return [ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip]

    def netns(self, id_: str) -> str:
        return str(self.shim.state / "pods" / id_ / "ns" / "net")

    def condition(self) -> cri.RuntimeCondition:
        """NetworkReady."""
        status = self.shim.runtime.Status(cri.StatusRequest()).status
        return next(c for c in status.conditions if c.type == "NetworkReady")

    def elements(self) -> list[Any]:
        """What is published on the host, of every map of the table."""
        listed = json.loads(sh(self.hosts.host, "nft -j list ruleset"))["nftables"]
        return [e for item in listed for e in item.get("map", {}).get("elem", [])]

    def links(self) -> list[str]:
        """The host's ends of pods' pairs."""
        shown = sh(self.hosts.host, "ip -o link show")
        names = (line.split()[1].split("@")[0].rstrip(":") for line in shown.splitlines())
        return [name for name in names if name.startswith(LINK)]

    def records(self, kind: str = "lease") -> dict[str, dict[str, Any]]:
        """The network's documents of this kind on disk."""
        with contextlib.closing(sqlite3.connect(self.shim.root / "state.db")) as db:
            query = "SELECT key, document FROM documents WHERE kind = ?"
            return {key: json.loads(text) for key, text in db.execute(query, (kind,))}

    def left(self) -> list[str]:
        """What pods left of their network. Links are deleted in the background."""
        until(lambda: not self.links(), "links of pods deleted")
        found = [str(element) for element in self.elements()]
        for kind in ("lease", "attachment"):
            found += [f"{kind} {key}" for key in self.records(kind)]
        return found + self.leftovers()

    def leftovers(self) -> list[str]:
        """Of pods, while the daemon runs, which has a mount of its own."""
        own = str(self.shim.state / "programs")
        return [thing for thing in self.shim.leftovers() if not thing.startswith(own)]


def pod_config(name: str = "", **fields: Any) -> cri.PodSandboxConfig:
    """A pod with a network of its own, and no process, as the kubelet asks for them."""
    config = pods.pod_config(name, host_network=False, **fields)
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def port(
    container: int, host: int, protocol: cri.Protocol = cri.TCP, host_ip: str = ""
) -> cri.PortMapping:
    return cri.PortMapping(
        container_port=container, host_port=host, protocol=protocol, host_ip=host_ip
    )


@contextlib.contextmanager
def node(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A node for a test; nothing of its pods is left at the end, or the test fails."""
    (directory / "shim").mkdir(parents=True)
    defaults = {
        "network.mode": "bridge",
        "network.subnet": json.dumps(SUBNETS),
        "runtime.handlers.default.type": "runc",  # not asking crun first makes starts quicker
    }
    found = Node(Shim(directory / "shim", {**defaults, **(settings or {})}), _host(directory))
    try:
        found.boot()
        yield found
        found.shim.remove_everything()
        left = found.left()
        assert left == [], left
    finally:
        found.shim.stop()
        _unmount(found.shim)
        found.hosts.close()


def _host(directory: Path) -> Hosts:
    """A fresh one, each time in a directory of its own."""
    hosts = Hosts(Path(tempfile.mkdtemp(prefix="host-", dir=directory)))
    wire(hosts)
    return hosts


def _unmount(shim: Shim) -> None:
    for target in reversed(shim.mounts()):
        mounts.unmount(target, lazy=True)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for what happens in the background."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.01)
