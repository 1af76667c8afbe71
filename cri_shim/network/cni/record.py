"""What must be known to take a pod off its networks later, whatever happens to the files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from cri_shim.network.cni.conflist import ConfList, Plugin
from cri_shim.network.hostports import HostPort


class Stage(Enum):
    """ADDING → ADDED → DELETING; from each of them the record goes when DEL has worked."""

    ADDING = "adding"
    ADDED = "added"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Record:
    """Written before the first plugin runs. `runtime` is the runtime configuration by capability,
    `result` the last plugin's (None before)."""

    sandbox: str
    pod: str
    netns: str
    arguments: str
    conflist: ConfList
    runtime: Mapping[str, Any]
    ports: tuple[HostPort, ...] = ()
    stage: Stage = Stage.ADDING
    result: Mapping[str, Any] | None = None

    def config(self, plugin: Plugin, previous: Mapping[str, Any] | None) -> dict[str, Any]:
        """What goes to this plugin's stdin."""
        config = {
            **plugin.config,
            "name": self.conflist.name,
            "cniVersion": self.conflist.version,
        }
        asked = plugin.capabilities & self.runtime.keys()
        if asked:
            config["runtimeConfig"] = {name: self.runtime[name] for name in sorted(asked)}
        if previous is not None:
            config["prevResult"] = previous
        return config

    def at(self, stage: Stage) -> "Record":
        return replace(self, stage=stage)

    def document(self) -> dict[str, Any]:
        return {
            "pod": self.pod,
            "netns": self.netns,
            "arguments": self.arguments,
            "conflist": self.conflist.document(),
            "runtime": dict(self.runtime),
            "ports": [port.document() for port in self.ports],
            "stage": self.stage.value,
            "result": None if self.result is None else dict(self.result),
        }

    @classmethod
    def from_document(cls, sandbox: str, document: Mapping[str, Any]) -> "Record":
        return cls(
            sandbox,
            document["pod"],
            document["netns"],
            document["arguments"],
            ConfList.from_document(document["conflist"]),
            document["runtime"],
            tuple(HostPort.from_document(port) for port in document["ports"]),
            Stage(document["stage"]),
            document["result"],
        )
