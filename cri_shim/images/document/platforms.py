"""Which entry of an index runs on this node: OS, architecture, variant."""

from collections.abc import Sequence
from dataclasses import dataclass

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "i686": ("386", ""),
}
# What `uname -m` says, where tools that build images by hand put it into a configuration.
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}


@dataclass(frozen=True, slots=True)
class Platform:
    """As in an index: `linux`, `arm`, `v7`; `variant` empty where there is none."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of_machine(cls, machine: str) -> "Platform":
        """The platform of a Linux host by the name that uname(2) gives its hardware."""
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        return cls("linux", architecture, variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def preference(wanted: Platform) -> list[str]:
    """Variants that run on `wanted`, best first. ARM runs older variants of its own width."""
    match wanted.architecture, wanted.variant:
        case "arm", ("v8" | "v7" | "v6" | "v5") as variant:
            # 32-bit code runs on every newer core, and code for a newer one ends in SIGILL.
            newest = int(variant[1:])
            return [*(f"v{n}" for n in range(newest, 4, -1)), ""]
        case "arm64", ("" | "v8"):
            # v8 is the only variant there is, and half of all builders leave it out: both are equal
            # (containerd's `platforms` normalises them, too).
            return ["v8", ""]
        case _, variant:
            return [variant, ""] if variant else [""]


def rank(offered: Platform, wanted: Platform) -> int | None:
    """How well an offer fits: 0 is best, None is not at all."""
    architecture = _ALIASES.get(offered.architecture, offered.architecture)
    if offered.os != wanted.os or architecture != wanted.architecture:
        return None
    variants = preference(wanted)
    return variants.index(offered.variant) if offered.variant in variants else None


def choose(offers: Sequence[Platform], wanted: Platform) -> int | None:
    """Index of the best fitting offer (the first of equals), or None."""
    fitting = [
        (fit, index)
        for index, offer in enumerate(offers)
        if (fit := rank(offer, wanted)) is not None
    ]
    return min(fitting)[1] if fitting else None
