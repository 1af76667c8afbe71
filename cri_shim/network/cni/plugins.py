"""Running one plugin: found in `bin_dirs`, told by environment and stdin, killed when it hangs."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.base.errors import DeadlineExceeded, RuntimeFailure
from berth.linux import processes
from cri_shim.network.cni import result
from cri_shim.network.threads import entering

_SHOWN = 1000
_VERSION_S = 10


@dataclass(frozen=True, slots=True)
class Call:
    """Which container's interface a command is about; `netns` "" when it is gone."""

    container: str
    netns: str
    interface: str
    arguments: str

    def environment(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.interface,
            "CNI_ARGS": self.arguments,
        }


class Plugins:
    """The programs in `bin_dirs`. `netns`: the host's namespace, where it is not our own."""

    def __init__(self, bin_dirs: Sequence[Path], netns: str | None, deadline: float) -> None:
        self.bin_dirs = tuple(bin_dirs)
        self._netns = netns
        self._deadline = deadline
        self._versions: dict[tuple[str, int], tuple[str, ...]] = {}

    def find(self, kind: str) -> Path | None:
        for directory in self.bin_dirs:
            path = directory / kind
            if os.access(path, os.X_OK) and path.is_file():
                return path
        return None

    async def run(
        self, command: str, kind: str, config: Mapping[str, Any], call: Call | None
    ) -> dict[str, Any] | None:
        """The result of ADD, else None; RuntimeFailure with the plugin's own message."""
        who = f"CNI plugin {kind} ({command} for network {config['name']})"
        ended = await self._run(command, kind, config, call, self._deadline, who)
        if ended.code:
            raise RuntimeFailure(f"{who} failed: {_reason(ended)}")
        return result.parse(ended.stdout, who) if command == "ADD" else None

    async def versions(self, kind: str) -> tuple[str, ...]:
        """The versions of the specification that the plugin supports; asked once for each file."""
        path = self.find(kind)
        if path is None:
            raise RuntimeFailure(self.missing(kind))
        # An update replaces the file: its time tells the new program from the old one.
        key = (str(path), path.stat().st_mtime_ns)
        if key not in self._versions:
            who = f"CNI plugin {kind} (VERSION)"
            ended = await self._run("VERSION", kind, {"cniVersion": "1.0.0"}, None, _VERSION_S, who)
            known = result.parse(ended.stdout, who).get("supportedVersions", [])
            self._versions[key] = tuple(str(version) for version in known)
        return self._versions[key]

    def missing(self, kind: str) -> str:
        directories = ", ".join(str(directory) for directory in self.bin_dirs)
        return (
            f"CNI plugin {kind} is in none of {directories}: install it (package "
            "containernetworking-plugins, or that of your network) or set [network] bin_dirs"
        )

    async def _run(
        self,
        command: str,
        kind: str,
        config: Mapping[str, Any],
        call: Call | None,
        deadline: float,
        who: str,
    ) -> processes.Result:
        path = self.find(kind)
        if path is None:
            raise RuntimeFailure(self.missing(kind))
        # Parameters go by environment, the configuration by stdin (CNI specification, section 2).
        # Ours is passed on: plugins look up iptables and others in PATH.
        environment = os.environ | (call.environment() if call else {})
        environment |= {
            "CNI_COMMAND": command,
            "CNI_PATH": os.pathsep.join(map(str, self.bin_dirs)),
        }
        try:
            return await processes.run(
                [*entering(self._netns), str(path)],
                input=json.dumps(config).encode(),
                timeout=deadline,
                env=environment,
            )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{who} did not end within {deadline:g} s and was killed ({error})"
            ) from None
        except OSError as error:
            raise RuntimeFailure(f"{who} cannot be started: {error}") from error


def _reason(ended: processes.Result) -> str:
    """The plugin's error object, and what it wrote to stderr."""
    parts = [_error_object(ended.stdout), _ends(ended.stderr.decode(errors="replace").strip())]
    message = "; ".join(part for part in parts if part)
    return message or f"exit code {ended.code}, and it printed nothing"


def _ends(text: str) -> str:
    """Both ends of a long text: a panic of Go begins with its reason, most else ends with it."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"


def _error_object(output: bytes) -> str:
    try:
        error = result.parse(output, "")
    except RuntimeFailure:
        return output[:_SHOWN].decode(errors="replace").strip()
    parts = (str(error.get(key, "")) for key in ("msg", "details"))
    message = ": ".join(part for part in parts if part)
    return f"{message} (code {error.get('code')})" if message else output[:_SHOWN].decode()
