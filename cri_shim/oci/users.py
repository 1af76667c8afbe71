"""Which user, group and supplementary groups a process has, from the image's own files.

Pure over the bytes of /etc/passwd and /etc/group (passwd(5), group(5)); lines that are not well
formed are passed over, as the C library does.

    user     the container's (id, else name), else the image's, else root
    group    the container's, else the image's where the user is the image's too, else the one that
             passwd gives the user, else 0
    groups   the primary, then what /etc/group lists the user in (policy Merge, and only where the
             user has a name), then those of the pod

The primary group is among the supplementary ones: without it a process that drops its effective
group would get round permissions that take something away from a group (CVE-2022-36109,
CVE-2023-25173). It stands first, where CRI's status shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from berth.base.errors import InvalidArgument
from cri_shim.model.container import ProcessUser
from cri_shim.model.namespaces import IdMapping, UserNamespace
from cri_shim.model.security import ContainerSecurity, GroupsPolicy

ID_LIMIT = 2**32 - 1
"""The last id is no id: it means "unchanged" to the kernel."""


@dataclass(frozen=True, slots=True)
class _Account:
    name: bytes
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Group:
    name: bytes
    gid: int
    members: frozenset[bytes]


def resolve(
    security: ContainerSecurity, image_user: str, passwd: bytes, group: bytes
) -> ProcessUser:
    """The user of the first process; InvalidArgument names what the image's files lack.

    `image_user` is the image's own choice: empty, `user`, `user:group`, names or numbers. It counts
    only where the container names no user; then its group does not count either.
    """
    accounts, groups = list(_accounts(passwd)), list(_groups(group))
    user, group_name = _wanted(security, image_user)
    account = _find_user(user, accounts)
    gid = account.gid if group_name == "" else _find_group(group_name, groups)
    found = [gid]
    if security.groups_policy is GroupsPolicy.MERGE and account.name:
        found += [entry.gid for entry in groups if account.name in entry.members]
    # By number and unchecked: a pod may share a volume by a group that the image does not know.
    found += security.supplemental_groups
    return ProcessUser(account.uid, gid, tuple(dict.fromkeys(found)))


def check_mapped(user: ProcessUser, namespace: UserNamespace | None) -> None:
    """InvalidArgument where an id has no place in the pod's user namespace."""
    if namespace is None:
        return
    _check_id("user", user.uid, namespace.uids)
    for gid in (user.gid, *user.groups):
        _check_id("group", gid, namespace.gids)


def _check_id(what: str, value: int, mappings: tuple[IdMapping, ...]) -> None:
    if not mapped(value, mappings):
        raise InvalidArgument(
            f"{what} {value} is not mapped in the pod's user namespace: "
            "choose an id within its mappings"
        )


def mapped(value: int, mappings: tuple[IdMapping, ...]) -> bool:
    """Whether the id inside has an id outside."""
    return any(m.container_id <= value < m.container_id + m.length for m in mappings)


def _wanted(security: ContainerSecurity, image_user: str) -> tuple[str | int, str | int]:
    """User and group, each a text (name or number) or an id; an empty group: the user's own."""
    group = "" if security.run_as_group is None else security.run_as_group
    if security.run_as_user is not None:
        return security.run_as_user, group
    if security.run_as_username:
        return security.run_as_username, group
    # Image configuration, `User`: "user", "uid", "user:group" and all mixtures of them.
    user, _, image_group = image_user.partition(":")
    return user or 0, image_group if group == "" else group


def _find_user(wanted: str | int, accounts: list[_Account]) -> _Account:
    """A text by name first, as its author may have meant it, then by number.

    A number that no line has is a user without a name and of group 0, as in other runtimes.
    """
    uid = wanted if isinstance(wanted, int) else _number(_bytes(wanted))
    if isinstance(wanted, str):
        for account in accounts:
            if account.name == _bytes(wanted):
                return account
    if uid is None:
        raise InvalidArgument(
            f"user {wanted!r} is not in the image's /etc/passwd: "
            "add it to the image or give a number"
        )
    return next((a for a in accounts if a.uid == uid), _Account(b"", uid, 0))


def _find_group(wanted: str | int, groups: list[_Group]) -> int:
    if isinstance(wanted, int):
        return wanted
    for group in groups:
        if group.name == _bytes(wanted):
            return group.gid
    gid = _number(_bytes(wanted))
    if gid is None:
        raise InvalidArgument(
            f"group {wanted!r} is not in the image's /etc/group: "
            "add it to the image or give a number"
        )
    return gid


def _accounts(text: bytes) -> Iterator[_Account]:
    for fields in _lines(text):
        if len(fields) >= 4:
            uid, gid = _number(fields[2]), _number(fields[3])
            if fields[0] and uid is not None and gid is not None:
                yield _Account(fields[0], uid, gid)


def _groups(text: bytes) -> Iterator[_Group]:
    for fields in _lines(text):
        if len(fields) >= 3:
            gid = _number(fields[2])
            members = fields[3].split(b",") if len(fields) > 3 else []
            if fields[0] and gid is not None:
                yield _Group(fields[0], gid, frozenset(m.strip() for m in members if m.strip()))


def _lines(text: bytes) -> Iterator[list[bytes]]:
    for line in text.split(b"\n"):
        # "+" and "-" are NIS entries (nsswitch's compat), of no account by themselves.
        if line and line[:1] not in b"#+-":
            yield line.rstrip(b"\r").split(b":")


def _bytes(text: str) -> bytes:
    """As the image has it; a text that is no bytes at all matches nobody's name."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""


def _number(text: bytes) -> int | None:
    # Nothing is cut or wrapped: an id that overflowed to 0 ran as root in another runtime
    # (CVE-2024-40635).
    if not text.isdigit() or len(text) > 10 or int(text) >= ID_LIMIT:
        return None
    return int(text)
