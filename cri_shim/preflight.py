"""Look at a host before it becomes a node: one finding a line, with the remedy."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import BerthError
from berth.linux import mounts
from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.naming import choose_driver
from berth.linux.files import remove_tree
from berth.linux.programs import program_directory
from cri_shim.config import Config
from cri_shim.network import choice
from cri_shim.network.pod import Level
from cri_shim.runtime import host_facts, probe

NEEDED_CONTROLLERS = ("cpu", "memory", "pids")
SPARE = 5 << 30
"""Free bytes below which images soon do not fit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`fatal`: pods cannot run until it is mended."""

    fatal: bool
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        word = "ERROR" if self.fatal else "warn " if self.remedy else "ok   "
        return f"{word} {self.text}" + (f": {self.remedy}" if self.remedy else "")


async def findings(config: Config) -> list[Finding]:
    """Everything looked at, good news too. Nothing is left on the host."""
    if os.geteuid() != 0:
        return [Finding(True, "not root", "run as root")]
    return [finding async for finding in _look(config)]


async def _look(config: Config) -> AsyncIterator[Finding]:
    yield _program("conmon", "install the package conmon")
    yield _program("catatonit", "install the package catatonit (pods that share processes)")
    for finding in _cgroups(config):
        yield finding
    with (
        tempfile.TemporaryDirectory(prefix="berth-check-", dir="/run") as directory,
        program_directory(Path(directory) / "programs") as programs,
    ):
        yield await _runtime(config, programs)
    for finding in _apparmor(config):
        yield finding
    for finding in await _network(config):
        yield finding
    yield _overlay(config)
    yield _space(config)


def _program(name: str, remedy: str) -> Finding:
    path = shutil.which(name)
    return Finding(False, f"{name} is {path}") if path else Finding(True, f"no {name}", remedy)


def _cgroups(config: Config) -> list[Finding]:
    try:
        cgroups = detect()
    except OSError as error:
        return [Finding(True, str(error), "mount cgroup2 on /sys/fs/cgroup")]
    driver = choose_driver(config.cgroup_driver).value
    found = [Finding(False, f"cgroups are {cgroups.layout}, driver {driver}")]
    missing = [c for c in NEEDED_CONTROLLERS if c not in cgroups.controllers]
    if missing:
        names = ", ".join(missing)
        found.append(Finding(True, f"cgroup controllers missing: {names}", "enable them at boot"))
    return found


async def _runtime(config: Config, directory: Path) -> Finding:
    systemd = choose_driver(config.cgroup_driver).value == "systemd"
    try:
        handler = await probe.choose_default(directory / "runtime", directory, systemd)
    except BerthError as error:
        return Finding(True, str(error), "install crun or runc, or follow what it says")
    return Finding(False, f"{handler.binary} {handler.features.version} runs containers here")


def _apparmor(config: Config) -> list[Finding]:
    """Whether RuntimeDefault has a profile, where the host has AppArmor."""
    name = config.runtime.apparmor_profile
    facts = host_facts.apparmor(name)
    if facts.loaded is None:
        return []
    if not name:
        remedy = "load one and name it in runtime.apparmor_profile"
        return [Finding(False, "AppArmor has no profile for RuntimeDefault", remedy)]
    if name not in facts.loaded:
        remedy = "load it with apparmor_parser: containers are refused until then"
        return [Finding(True, f"AppArmor profile {name} is not loaded", remedy)]
    return [Finding(False, f"AppArmor profile {name} is loaded")]


async def _network(config: Config) -> list[Finding]:
    """For the network that the next pod would get."""
    table = choice.NetworkConfig.of(dataclasses.asdict(config.network))
    try:
        found = await choice.inspect(table)
    except (BerthError, OSError) as error:
        return [Finding(True, str(error), "correct the table [network] of the configuration")]
    if not found:
        return [Finding(False, f"nothing is in the way of pods' network (mode {table.mode})")]
    return [Finding(f.level is Level.ERROR, f.text, f.remedy) for f in found]


def _overlay(config: Config) -> Finding:
    """Mount one overlay where the images will be."""
    root = Path(config.root)
    near = next(p for p in [root, *root.parents] if p.is_dir())
    directory = Path(tempfile.mkdtemp(prefix=".berth-check-", dir=near))
    try:
        parts = [directory / name for name in ("lower", "upper", "work", "merged")]
        for part in parts:
            part.mkdir()
        lower, upper, work, merged = map(str, parts)
        mounts.overlay([lower], upper, work, merged)
        mounts.unmount(merged)
    except OSError as error:
        remedy = "put `root` on ext4 or xfs (with ftype=1)"
        return Finding(True, f"no overlay on {near}: {error.strerror}", remedy)
    finally:
        remove_tree(directory)
    return Finding(False, f"overlay works on {near}")


def _space(config: Config) -> Finding:
    root = Path(config.root)
    near = next(p for p in [root, *root.parents] if p.is_dir())
    free = shutil.disk_usage(near).free
    text = f"{free / 1e9:.1f} GB free for images on {near}"
    return Finding(False, text, "" if free > SPARE else "free some space or move `root`")
