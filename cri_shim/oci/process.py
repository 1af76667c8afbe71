"""The first process: arguments, environment, working directory, limits; and processes of exec.

runtime-spec config.md, "Process". An exec runs as the container does: same user, environment,
capabilities and labels, as kubelet and kubectl expect; only its command and terminal differ.
"""

import copy
from collections.abc import Iterable, Sequence

from berth.base.errors import InvalidArgument
from cri_shim.model.container import ContainerSpec
from cri_shim.model.image import ImageConfig
from cri_shim.oci import capabilities
from cri_shim.oci.facts import Facts, Json, Rlimit
from cri_shim.oci.labels import apparmor_profile, process_label
from cri_shim.oci.users import check_mapped

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_TERM = "xterm"


def process(spec: ContainerSpec, facts: Facts) -> Json:
    """The OCI `process` object. Bytes that are no UTF-8 are escaped surrogates."""
    security = spec.security
    # First, for the error: the OCI runtime would fail at setgroups(2) with no more than EINVAL.
    check_mapped(facts.user, security.namespaces.user)
    document: Json = {
        "terminal": spec.tty,
        "user": _user(facts),
        "args": arguments(spec, facts.image),
        "env": environment(spec, facts),
        "cwd": working_directory(spec, facts.image),
        "capabilities": capabilities.of_container(security, facts),
        "noNewPrivileges": security.no_new_privs,
        "oomScoreAdj": oom_score_adj(spec.resources.oom_score_adj, facts),
    }
    optional = {
        "rlimits": rlimits(facts),
        "apparmorProfile": apparmor_profile(security, facts),
        "selinuxLabel": process_label(security, facts),
    }
    return document | {key: value for key, value in optional.items() if value}


def exec_process(document: Json, command: Sequence[str], tty: bool) -> Json:
    """The process of an exec: the container's own, with another command.

    `document` is the container's whole document as it was composed.
    """
    if not command:
        raise InvalidArgument("cmd is empty: give the command to execute")
    for i, argument in enumerate(command):
        checked(argument, f"cmd[{i}]")
    # A copy: the document is kept for the next exec (`runtime.process_documents`).
    found: Json = copy.deepcopy(document["process"])
    found |= {"args": list(command), "terminal": tty}
    found.pop("consoleSize", None)  # the first process's; the client sends its own by resize
    if tty and not any(entry.startswith("TERM=") for entry in found["env"]):
        found["env"].append(f"TERM={DEFAULT_TERM}")
    return found


def arguments(spec: ContainerSpec, image: ImageConfig) -> list[str]:
    """The command replaces the image's entrypoint and cmd, args replace only its cmd."""
    if spec.command:
        found = (*spec.command, *spec.args)
    elif spec.args:
        found = (*image.entrypoint, *spec.args)
    else:
        found = (*image.entrypoint, *image.cmd)
    if not found:
        name = spec.user_specified_image or spec.image
        raise InvalidArgument(
            f"image {name} has no command and the container gives none: set command or args"
        )
    if not found[0]:
        raise InvalidArgument("the command's first word is empty: name a program")
    return [checked(argument, "command") for argument in found]


def environment(spec: ContainerSpec, facts: Facts) -> list[str]:
    """Defaults, over them the image's, over them the container's, over them CDI's."""
    # In the order of who wins, as dict updates. An image without PATH could run nothing by name.
    found = {"PATH": DEFAULT_PATH}
    if spec.tty:
        found["TERM"] = DEFAULT_TERM
    if facts.hostname:
        found["HOSTNAME"] = facts.hostname
    found |= _pairs(facts.image.env)
    # Environment is bytes to the kernel and to CRI; JSON is not. Bytes that are no UTF-8 travel as
    # escaped surrogates up to `document.render`.
    found |= {key: value.decode("utf-8", "surrogateescape") for key, value in spec.envs}
    found |= _pairs(facts.cdi.env)
    return [checked(f"{key}={value}", f"variable {key!r}") for key, value in found.items()]


def working_directory(spec: ContainerSpec, image: ImageConfig) -> str:
    """Always absolute; the OCI runtime creates it where it is missing."""
    path = checked(spec.working_dir or image.working_dir or "/", "working_dir")
    return path if path.startswith("/") else f"/{path}"


def rlimits(facts: Facts) -> list[Json]:
    """The configured limits, kept within the daemon's own where it may not raise them."""
    return [_rlimit(limit, facts) for limit in facts.rlimits]


def _rlimit(limit: Rlimit, facts: Facts) -> Json:
    hard = limit.hard
    if not facts.raise_rlimits:
        hard = min(hard, facts.own_rlimits.get(limit.name, hard))
    return {"type": limit.name, "hard": hard, "soft": min(limit.soft, hard)}


def oom_score_adj(wanted: int, facts: Facts) -> int:
    """Without CAP_SYS_RESOURCE nobody may go below the own score (proc(5)).

    A daemon in a container meets that; the write would fail with EACCES and with it the create.
    """
    return max(wanted, facts.oom_floor)


def checked(text: str, where: str) -> str:
    """Refuse what no C string or no byte string can carry (images may hold either)."""
    if "\0" in text:
        raise InvalidArgument(f"{where} has a NUL byte")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidArgument(f"{where} has a code point that is no character") from None
    return text


def _pairs(entries: Iterable[str]) -> dict[str, str]:
    """`NAME=value` entries; one without a name or without `=` says nothing and is left out."""
    parts = (entry.partition("=") for entry in entries)
    return {name: value for name, equals, value in parts if name and equals}


def _user(facts: Facts) -> Json:
    # A dict for a set that keeps its order: the primary group stays first.
    groups = dict.fromkeys((*facts.user.groups, *facts.cdi.additional_gids))
    return {"uid": facts.user.uid, "gid": facts.user.gid, "additionalGids": list(groups)}
