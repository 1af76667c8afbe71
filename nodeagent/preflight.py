"""Whether the agent could run on this host."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from berth.base.findings import Finding
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
        return Finding.ok("runs as root")
    return Finding.error(f"runs as user {os.geteuid()}; the socket is for root", "run it as root")


def _directory(path: Path) -> Finding:
    """The directory, or the nearest one above it that exists, can be written."""
    # For root access(2) refuses a read-only filesystem and nothing else.
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return Finding.ok(f"{path} can be written")
    return Finding.error(f"{existing} is no directory that can be written", "make it one")


def _plan(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding.ok(f"{path} is missing: one consumer, default, may have everything")
        return
    try:
        plan = parse_plan(read_yaml_file(path), ZoneInfo)
    except DocumentRefused as refused:
        for problem in refused.problems:
            yield Finding.error(
                f"{path}: {problem.path}: {problem.fault}", f"accepted: {problem.accepted}"
            )
    else:
        yield Finding.ok(f"{path}: plan {plan.name} is valid")


def _runtime(path: Path) -> Finding:
    """A warning at most: the runtime may start later; until it does no pod can be reclaimed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            text = f"no runtime answers on {path} yet ({error.strerror})"
            return Finding.warning(text, "start cri-shim, or set cri_socket")
    return Finding.ok(f"a runtime listens on {path}")
