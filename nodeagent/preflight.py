"""Whether the agent could run here: one finding a line, with the remedy."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from nodeagent.allocator.plan.plan_reading import parse_plan
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.plan_files import read_yaml_file


class Places(Protocol):
    """Where the configuration puts things."""

    @property
    def socket(self) -> Path: ...
    @property
    def state(self) -> Path: ...
    @property
    def plan(self) -> Path: ...
    @property
    def cri_socket(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """`fatal`: the agent could not run."""

    fatal: bool
    text: str

    def __str__(self) -> str:
        return f"{'FAIL' if self.fatal else 'ok  '} {self.text}"


def findings(places: Places) -> list[Finding]:
    """Everything checked, good or bad."""
    return [
        _root(),
        *(_directory(path) for path in (places.state, places.socket.parent)),
        *_plan(places.plan),
        _runtime(places.cri_socket),
    ]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding(False, "runs as root")
    return Finding(True, f"runs as user {os.geteuid()}: the socket is for root; run it as root")


def _directory(path: Path) -> Finding:
    """The directory, or the nearest one above it that exists, can be written."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return Finding(False, f"{path} can be written")
    return Finding(True, f"{existing} is no directory that can be written; make it one")


def _plan(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(False, f"{path} is missing: one consumer, default, may have everything")
        return
    try:
        plan = parse_plan(read_yaml_file(path), ZoneInfo)
    except DocumentRefused as refused:
        for problem in refused.problems:
            yield Finding(True, f"{path}: {problem}")
    else:
        yield Finding(False, f"{path}: plan {plan.name} is valid")


def _runtime(path: Path) -> Finding:
    """Not fatal: the runtime may start later; until it does no pod can be reclaimed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            why = f"{error.strerror}; start cri-shim, or set cri_socket"
            return Finding(False, f"no runtime answers on {path} yet: {why}")
    return Finding(False, f"a runtime listens on {path}")
