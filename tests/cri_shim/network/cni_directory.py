"""A host with CNI: the distribution's plugins, and stand-ins that misbehave on request."""

import json
from pathlib import Path
from typing import Any

from berth.linux.tasks import Tasks
from cri_shim.network.cni.network import CniNetwork, CniSettings
from cri_shim.network.hostports import Claims
from tests.cri_shim.network.hosts import FileDocuments, Hosts

REAL = Path("/usr/lib/cni")

# Notes command, namespace and stdin of each call in the directory "calls" beside it.
_FAKE = """#!/bin/sh
here=$(dirname "$0")
mkdir -p "$here/calls"
config=$(cat)
printf '%s\\n%s\\n%s\\n%s' "$CNI_COMMAND" "$CNI_NETNS" "$CNI_ARGS" "$config" \\
    > "$here/$$.call"
mv "$here/$$.call" "$here/calls/$(date +%s%N)-$$"
"""
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/x"}],
    "ips": [{"address": "10.1.0.1/16", "interface": 0}, {"address": "10.1.0.9/16", "interface": 1}],
}
_VERSION = (
    'if [ "$CNI_COMMAND" = VERSION ]; then echo \'{"supportedVersions": ["%s"]}\'; exit; fi\n'
)


class CniHost:
    """Files of a CNI set-up below the test's directory; `start` again is a restart."""

    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self.hosts = hosts
        self.conf = hosts.directory / "net.d"
        self.bin = hosts.directory / "bin"
        self.data = hosts.directory / "host-local"
        self.conf.mkdir()
        self.bin.mkdir()
        self.records = FileDocuments(hosts.directory / "attachments")
        self._tasks = tasks
        self._open: list[CniNetwork] = []

    async def start(self, *known: str, deadline: float = 20) -> CniNetwork:
        await self.stop()
        settings = CniSettings(
            self.conf, (self.bin, REAL), deadline, retry=0.02, netns=self.hosts.host
        )
        network = CniNetwork(settings, self.records, Claims(), self._tasks)
        self._open.append(network)
        await network.recover(known)
        return network

    async def stop(self) -> None:
        while self._open:
            await self._open.pop().close()

    def write(self, file: str, *plugins: dict[str, Any], version: str = "1.0.0") -> None:
        content = {"cniVersion": version, "name": "testnet", "plugins": list(plugins)}
        (self.conf / file).write_text(json.dumps(content))

    def plugins(self) -> list[dict[str, Any]]:
        """The chain of most set-ups."""
        ipam = {
            "type": "host-local",
            "dataDir": str(self.data),
            "ranges": [[{"subnet": "10.78.0.0/24"}], [{"subnet": "fd78::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        }
        return [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ]

    def real(self, file: str = "10-real.conflist", version: str = "1.0.0") -> None:
        self.write(file, *self.plugins(), version=version)

    def fake(self, name: str, body: str = "", version: str = "1.0.0") -> dict[str, Any]:
        """A plugin that notes its calls and then does `body`."""
        path = self.bin / name
        path.write_text(_FAKE.replace("here=", _VERSION % version + "here=", 1) + body)
        path.chmod(0o755)
        return {"type": name}

    def calls(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        """Command, namespace, arguments and configuration of each call of a fake."""
        found = []
        for path in sorted((self.bin / "calls").glob("*")):
            command, netns, arguments, config = path.read_text().split("\n", 3)
            found.append((command, netns, arguments, json.loads(config)))
        return found

    def addresses(self) -> list[str]:
        """What host-local has given out."""
        files = (self.data / "testnet").glob("*")
        return sorted(p.name for p in files if p.name[0].isdigit() or p.name.startswith("fd"))


# A plugin in the middle of a chain answers with what came before it.
PASS_ON = (
    'printf %s "$config" | python3 -c \'import json, sys; '
    'print(json.dumps(json.load(sys.stdin).get("prevResult", {"cniVersion": "1.0.0"})))\''
)


def answer(result: dict[str, Any] = RESULT) -> str:
    return f"""[ "$CNI_COMMAND" = ADD ] && echo '{json.dumps(result)}'; exit 0\n"""
