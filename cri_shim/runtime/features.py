"""What an OCI runtime can do: by `features` where it has that command, else by its version.

The document is that of runtime-spec `features.md`. It says what the binary was built with; whether
the kernel does it too, only a try shows (`probe`).
"""

import json
import re
from typing import Any

from berth.base.errors import RuntimeFailure
from berth.linux import processes
from cri_shim.runtime.handler import ENVIRONMENT, Features, Kind

_VERSION = re.compile(r"^(?P<kind>crun|runc) version (?P<version>[\w.+~-]+)", re.MULTILINE)
_CRUN_IDMAP = (1, 5)
"""crun's first release with `uidMappings` on a mount."""
_CRUN_RRO = (1, 4)
"""crun's first release with recursive read-only mounts. runc has them from 1.1, as `features`."""
_TIMEOUT = 10.0


async def identify(binary: str) -> tuple[Kind, str]:
    """Which runtime a binary is, and its version, by what `--version` prints."""
    # By what it prints, not by its name: a `runc` may be a link to crun, and the two differ in ways
    # that matter here (`null_device`, `exec_processes`).
    text = await _output(binary, "--version")
    found = _VERSION.search(text)
    if found is None:
        raise RuntimeFailure(f"{binary} is neither crun nor runc: --version says {text[:80]!r}")
    kind: Kind = "crun" if found["kind"] == "crun" else "runc"
    return kind, text


async def read(binary: str, kind: Kind, version_text: str) -> Features:
    """Its features. `version_text` is the output of `--version`."""
    found = _VERSION.search(version_text)
    version = found["version"] if found else ""
    try:
        document = json.loads(await _output(binary, "features"))
    except (RuntimeFailure, ValueError):
        document = None  # crun before 1.8.6 and runc before 1.1 have no such command
    if isinstance(document, dict):
        return from_document(document, version)
    return from_version(kind, version, version_text)


def from_document(document: dict[str, Any], version: str) -> Features:
    """From the `features` structure of the runtime specification."""
    linux = document.get("linux", {})

    def enabled(*path: str) -> bool:
        node: Any = linux
        for name in path:  # any level may be missing or null: all fields are optional
            node = node.get(name, {}) if isinstance(node, dict) else {}
        return bool(isinstance(node, dict) and node.get("enabled"))

    annotations = document.get("annotations", {})
    checkpoint = annotations.get("org.opencontainers.runc.checkpoint.enabled") == "true"
    return Features(
        version=version,
        recursive_readonly="rro" in document.get("mountOptions", ()),
        user_namespaces=enabled("mountExtensions", "idmap"),
        seccomp=enabled("seccomp"),
        apparmor=enabled("apparmor"),
        selinux=enabled("selinux"),
        checkpoint=checkpoint or annotations.get("run.oci.crun.checkpoint.enabled") == "true",
    )


def from_version(kind: Kind, version: str, text: str) -> Features:
    """From the version and, for crun, the line of `+NAME` build options after it."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    crun = kind == "crun"
    return Features(
        version=version,
        recursive_readonly=crun and numbers >= _CRUN_RRO,
        user_namespaces=crun and numbers >= _CRUN_IDMAP,
        seccomp="+SECCOMP" in text or not crun,
        apparmor="+APPARMOR" in text or not crun,
        selinux="+SELINUX" in text or not crun,
        checkpoint="+CRIU" in text or not crun,
    )


async def _output(binary: str, argument: str) -> str:
    try:
        result = await processes.run([binary, argument], timeout=_TIMEOUT, env=ENVIRONMENT)
    except OSError as error:
        raise RuntimeFailure(f"cannot run {binary} {argument}: {error}") from error
    if result.code:
        raise RuntimeFailure(f"{binary} {argument} ended with exit code {result.code}")
    return result.stdout.decode("utf-8", "replace")
