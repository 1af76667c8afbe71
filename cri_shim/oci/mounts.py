"""The mounts of a container, in the order in which they are made.

The kernel's own filesystems and the pod's files come first; a mount of the spec or of CDI at the
same place replaces them. Shallow paths come before deep ones, so that nothing is covered.
runtime-spec config.md, "Mounts": the runtime makes them in the order of the list.
"""

import posixpath
from collections.abc import Iterable

from berth.base.errors import InvalidArgument, Unimplemented
from cri_shim.model.container import ContainerSpec, Propagation
from cri_shim.oci.default_mounts import default_mounts
from cri_shim.oci.facts import Facts, Json, ResolvedMount
from cri_shim.oci.namespaces import mappings

_PROPAGATION = {
    Propagation.PRIVATE: "rprivate",
    Propagation.HOST_TO_CONTAINER: "rslave",
    Propagation.BIDIRECTIONAL: "rshared",
}
_COVERING = ("/dev", "/proc", "/sys")
"""A mount over one of these replaces all below it: ours would appear inside its source."""

# Flags that a bind has from its source's mount. MS_REMOUNT|MS_BIND replaces all flags by those that
# it is given, and in a user namespace the kernel refuses to clear these (mount_namespaces(7)).
_KEPT = ("nosuid", "nodev", "noexec")


def mounts(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """All mounts, sorted by depth; equal depths keep their order."""
    cdi = [_cdi_mount(mount) for mount in facts.cdi.mounts_document()]
    own = [_bind(mount, facts) for mount in facts.mounts]
    # Sorted by depth, so that a volume at /data is there before one at /data/sub; sorted() keeps
    # the order of what is equally deep.
    own = _without(own, {mount["destination"] for mount in cdi}) + cdi
    taken = {mount["destination"] for mount in own}
    # CDI last and over the spec's own: a device's files must be those its driver needs.
    found = [m for m in default_mounts(spec, facts) if not _covered(m["destination"], taken)]
    return sorted(found + own, key=lambda mount: depth(mount["destination"]))


def rootfs_propagation(spec: ContainerSpec) -> str:
    """As wide as the widest mount needs: events reach a mount only through its parents.

    Empty where no mount needs any: then the OCI runtime's own default is right.
    """
    modes = {mount.propagation for mount in spec.mounts}
    if Propagation.BIDIRECTIONAL in modes:
        return "rshared"
    return "rslave" if Propagation.HOST_TO_CONTAINER in modes else ""


def depth(path: str) -> int:
    """Number of names in the path."""
    return len([name for name in path.split("/") if name])


def destination(path: str) -> str:
    """The place in the container: absolute, without `.`, `..` and doubled slashes."""
    # normpath of "//x" keeps both slashes (POSIX lets them mean something): hence the lstrip.
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"container_path {path!r} is the root itself: mount below it")
    return clean


def _covered(path: str, taken: set[str]) -> bool:
    if path in taken:
        return True
    return any(root in taken and path.startswith(root + "/") for root in _COVERING)


def _without(found: Iterable[Json], places: set[str]) -> list[Json]:
    return [mount for mount in found if mount["destination"] not in places]


def _bind(mount: ResolvedMount, facts: Facts) -> Json:
    spec = mount.spec
    _check_propagation(mount)
    document: Json = {
        "destination": destination(spec.container_path),
        "type": "bind",
        "source": mount.source,
        "options": _image_options(mount) if spec.image else _options(mount, facts),
    }
    if spec.image or not (spec.uids or spec.gids):
        return document
    return document | _mapped(mount, facts)


def _options(mount: ResolvedMount, facts: Facts) -> list[str]:
    """A bind whose flags change is remounted, and a remount clears what it does not repeat."""
    spec = mount.spec
    access = "ro" if spec.readonly else "rw"
    if spec.recursive_readonly:
        access = _recursive(mount, facts)
    flags = set(spec.options)
    # Only where something is changed at all: an untouched bind keeps its flags by itself.
    if flags or spec.readonly or spec.uids or spec.gids:
        flags |= mount.flags & set(_KEPT)
        access = "ro" if access == "rw" and "ro" in mount.flags else access
    chosen = [flag for flag in _KEPT if flag in flags]
    return ["rbind", _PROPAGATION[spec.propagation], access, *chosen]


def _image_options(mount: ResolvedMount) -> list[str]:
    """Programs in an image volume run (critest has that), but not with their owner's rights.

    The image is somebody else's: set-user-id bits and device nodes in it must do nothing.
    """
    wanted = ["noexec"] if "noexec" in mount.spec.options else []
    return ["rbind", "rprivate", "ro", "nosuid", "nodev", *wanted]


def _recursive(mount: ResolvedMount, facts: Facts) -> str:
    """The error begins with the word that kubelet looks for (KEP-3857).

    `rro` is mount_setattr(2) with AT_RECURSIVE; `ro` alone leaves the mounts below writable.
    """
    if not facts.features.recursive_readonly:
        raise Unimplemented(
            f"RROUnsupported: mount {mount.spec.container_path}: the OCI runtime of this handler "
            "or the kernel has no recursive read-only mounts: leave recursive_read_only out or "
            "use another handler"
        )
    return "rro"


def _mapped(mount: ResolvedMount, facts: Facts) -> Json:
    if not facts.features.idmapped_mounts:
        raise Unimplemented(
            f"mount {mount.spec.container_path}: the OCI runtime of this handler has no idmapped "
            "mounts, which volumes in a user namespace need: use another handler or host users"
        )
    return {
        "uidMappings": mappings(mount.spec.uids),
        "gidMappings": mappings(mount.spec.gids),
    }


# Propagation is a property of the source's mount: a bind of a private one can be made a peer of
# nothing, and the volume would silently not propagate.


def _check_propagation(mount: ResolvedMount) -> None:
    wanted, have = mount.spec.propagation, mount.propagation
    if wanted is Propagation.BIDIRECTIONAL and have != "shared":
        raise _propagation_error(mount, "shared")
    if wanted is Propagation.HOST_TO_CONTAINER and have not in ("shared", "slave"):
        raise _propagation_error(mount, "shared or slave")


def _propagation_error(mount: ResolvedMount, needed: str) -> InvalidArgument:
    return InvalidArgument(
        f"mount {mount.spec.container_path}: {mount.spec.propagation.name} needs its source "
        f"{mount.source} on a {needed} mount, and it is on a {mount.propagation} one: "
        "use mount --make-rshared on the host"
    )


def _cdi_mount(mount: Json) -> Json:
    """CDI leaves type and `bind` out where it means a bind."""
    options = list(mount.get("options", ()))
    kind = mount.get("type") or "bind"
    if kind == "bind" and not {"bind", "rbind"} & set(options):
        options.insert(0, "rbind")
    found = {"destination": destination(mount["destination"]), "type": kind}
    return found | {"source": mount["source"], "options": options}
