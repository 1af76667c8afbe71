"""What `cri-shim check` looks at before a host becomes a node."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from berth.base.errors import BerthError
from berth.base.findings import Finding
from berth.linux import mounts
from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.naming import choose_driver
from berth.linux.files import remove_tree
from berth.linux.programs import program_directory
from cri_shim.config import Config
from cri_shim.network import choice
from cri_shim.runtime import host_facts, probe

# Without them limits of a pod are not set; cpuset, hugetlb and io are used where they are there.
NEEDED_CONTROLLERS = ("cpu", "memory", "pids")
ENOUGH = 5 << 30
"""Free bytes below which images soon do not fit."""


async def findings(config: Config) -> list[Finding]:
    """Everything looked at, good news too. Nothing is left on the host."""
    if os.geteuid() != 0:
        return [Finding.error("not root", "run as root")]
    return [finding async for finding in _look(config)]


async def _look(config: Config) -> AsyncIterator[Finding]:
    yield _program("conmon", "install the package conmon")
    yield _program("catatonit", "install the package catatonit (pods that share processes)")
    for finding in _cgroups(config):
        yield finding
    # Where the daemon itself runs containers from: /run may be mounted noexec.
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
    return Finding.ok(f"{name} is {path}") if path else Finding.error(f"no {name}", remedy)


def _cgroups(config: Config) -> list[Finding]:
    try:
        cgroups = detect()
    except OSError as error:
        return [Finding.error(str(error), "mount cgroup2 on /sys/fs/cgroup")]
    driver = choose_driver(config.cgroup_driver).value
    found = [Finding.ok(f"cgroups are {cgroups.layout}, driver {driver}")]
    missing = [c for c in NEEDED_CONTROLLERS if c not in cgroups.controllers]
    if missing:
        names = ", ".join(missing)
        found.append(Finding.error(f"cgroup controllers missing: {names}", "enable them at boot"))
    return found


async def _runtime(config: Config, directory: Path) -> Finding:
    systemd = choose_driver(config.cgroup_driver).value == "systemd"
    try:
        handler = await probe.choose_default(directory / "runtime", directory, systemd)
    except BerthError as error:
        return Finding.error(str(error), "install crun or runc, or follow what it says")
    return Finding.ok(f"{handler.binary} {handler.features.version} runs containers here")


def _apparmor(config: Config) -> list[Finding]:
    """Whether RuntimeDefault has a profile, where the host has AppArmor."""
    name = config.runtime.apparmor_profile
    facts = host_facts.apparmor(name)
    if facts.loaded is None:
        return []
    if not name:
        remedy = "load one and name it in runtime.apparmor_profile"
        return [Finding.warning("AppArmor has no profile for RuntimeDefault", remedy)]
    if name not in facts.loaded:
        remedy = "load it with apparmor_parser: containers are refused until then"
        return [Finding.error(f"AppArmor profile {name} is not loaded", remedy)]
    return [Finding.ok(f"AppArmor profile {name} is loaded")]


async def _network(config: Config) -> list[Finding]:
    """What is wrong with the network that the next pod would get."""
    table = choice.NetworkConfig.of(dataclasses.asdict(config.network))
    try:
        found = await choice.inspect(table)
    except (BerthError, OSError) as error:
        return [Finding.error(str(error), "correct the table [network] of the configuration")]
    if not found:
        return [Finding.ok(f"nothing is in the way of pods' network (mode {table.mode})")]
    return found


def _overlay(config: Config) -> Finding:
    """Whether an overlay can be mounted where the images will be; only a mount tells for sure."""
    near = _existing(Path(config.root))
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
        return Finding.error(f"no overlay on {near}: {error.strerror}", remedy)
    finally:
        remove_tree(directory)
    return Finding.ok(f"overlay works on {near}")


def _existing(directory: Path) -> Path:
    """The directory or, before the daemon has made it, the nearest one above it."""
    return next(path for path in [directory, *directory.parents] if path.is_dir())


def _space(config: Config) -> Finding:
    near = _existing(Path(config.root))
    free = shutil.disk_usage(near).free
    text = f"{free / 1e9:.1f} GB free for images on {near}"
    if free > ENOUGH:
        return Finding.ok(text)
    return Finding.warning(text, "free some space or move `root`")
