"""The agent's configuration keys, with their types and defaults (nodeagent.toml)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from berth.base import configuration
from berth.base.configuration import Key
from berth.base.quantity import QuantityError, Vector, parse_quantity

DEFAULT_FILE = Path("/etc/berth/nodeagent.toml")


def _amounts(value: object, key: Key) -> Vector:
    if not isinstance(value, Mapping):
        raise key.refused(value, 'a table such as {cpu = "8", memory = "16Gi"}')
    return {name: _amount(name, it, key.below(name)) for name, it in value.items()}


def _amount(resource: str, value: object, key: Key) -> int:
    try:
        return parse_quantity(resource, value)
    except QuantityError as error:
        raise key.refused(value, error.accepted) from error


Amounts = Annotated[Vector, _amounts]
"""Quantities by resource, in base units once read."""


@dataclass(frozen=True, slots=True)
class Config:
    """`capacity` replaces what the host has, by resource; 0 takes a resource out.

    `slices` are the capacities of further groups of the plan; the first group has the rest.
    `queues` maps Kueue local queues to leaves of the plan where their names differ.
    """

    socket: Path = Path("/run/berth/node.sock")
    state: Path = Path("/var/lib/berth/node")
    plan: Path = Path("/etc/berth/plan.yaml")
    cri_socket: Path = Path("/run/berth/cri.sock")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    queues: Mapping[str, str] = field(default_factory=dict)
    capacity: Amounts = field(default_factory=dict)
    slices: Mapping[str, Amounts] = field(default_factory=dict)


def load(file: Path | None, assignments: Sequence[str] = ()) -> Config:
    """The configuration from `file` (default: the system's), its drop-ins and `--set`.

    Raises InvalidArgument naming the source and the key.
    """
    return configuration.load(Config, file, DEFAULT_FILE, assignments)
