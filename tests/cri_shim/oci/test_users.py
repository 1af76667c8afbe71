"""Users and groups against the image's own files."""

from typing import Any

import pytest

from berth.base.errors import InvalidArgument
from cri_shim.model.container import ProcessUser
from cri_shim.model.namespaces import IdMapping, UserNamespace
from cri_shim.model.security import ContainerSecurity, GroupsPolicy
from cri_shim.oci.users import check_mapped, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment: with: colons
broken
big:x:99999999999:1::/:
app:x:1000:1000::/home/app:/bin/sh
1234:x:77:78::/:
caf\xe9:x:1500:1500::/:
+nis::::::
"""
GROUP = b"""root:x:0:
app:x:1000:
wheel:x:10:root,app
extra:x:50000: app
bad:x:abc:app
nomembers:x:60
"""


def _resolve(image_user: str = "", **security: Any) -> ProcessUser:
    return resolve(ContainerSecurity(**security), image_user, PASSWD, GROUP)


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("", ProcessUser(0, 0, (0, 10))),
        ("root", ProcessUser(0, 0, (0, 10))),
        ("app", ProcessUser(1000, 1000, (1000, 10, 50000))),
        ("1000", ProcessUser(1000, 1000, (1000, 10, 50000))),
        ("4242", ProcessUser(4242, 0, (0,))),
        ("4242:4343", ProcessUser(4242, 4343, (4343,))),
        ("app:wheel", ProcessUser(1000, 10, (10, 50000))),
        ("app:60", ProcessUser(1000, 60, (60, 10, 50000))),
        ("1234", ProcessUser(77, 78, (78,))),
        (":wheel", ProcessUser(0, 10, (10,))),
        ("caf\udce9", ProcessUser(1500, 1500, (1500,))),
    ],
)
def test_the_image_chooses(image_user: str, expected: ProcessUser) -> None:
    assert _resolve(image_user) == expected


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({"run_as_user": 1000}, ProcessUser(1000, 1000, (1000, 10, 50000))),
        ({"run_as_user": 1000, "run_as_group": 5}, ProcessUser(1000, 5, (5, 10, 50000))),
        ({"run_as_username": "app"}, ProcessUser(1000, 1000, (1000, 10, 50000))),
        ({"run_as_username": "1000", "run_as_group": 0}, ProcessUser(1000, 0, (0, 10, 50000))),
        ({"run_as_user": 1234}, ProcessUser(1234, 0, (0,))),
        ({"run_as_username": "1234"}, ProcessUser(77, 78, (78,))),
        ({"run_as_user": 0}, ProcessUser(0, 0, (0, 10))),
    ],
)
def test_the_container_chooses(security: dict[str, Any], expected: ProcessUser) -> None:
    assert _resolve("nobody:nogroup", **security) == expected


def test_merge_adds_the_groups_of_the_image() -> None:
    user = _resolve("", run_as_user=1000, supplemental_groups=(1234, 10))
    assert user == ProcessUser(1000, 1000, (1000, 10, 50000, 1234))


def test_strict_takes_only_the_list() -> None:
    strict = GroupsPolicy.STRICT
    user = _resolve("", run_as_user=1000, supplemental_groups=(1234,), groups_policy=strict)
    assert user == ProcessUser(1000, 1000, (1000, 1234))


@pytest.mark.parametrize(
    ("image_user", "security", "words"),
    [
        ("ghost", {}, "user 'ghost' is not in the image's /etc/passwd"),
        ("big", {}, "user 'big'"),
        ("app:ghosts", {}, "group 'ghosts' is not in the image's /etc/group"),
        ("app:bad", {}, "group 'bad'"),
        ("", {"run_as_username": "ghost"}, "user 'ghost'"),
        ("99999999999", {}, "user '99999999999'"),
        ("-1", {}, "user '-1'"),
    ],
)
def test_missing_names(image_user: str, security: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        _resolve(image_user, **security)


def test_empty_files() -> None:
    assert resolve(ContainerSecurity(), "", b"", b"") == ProcessUser(0, 0, (0,))


def test_ids_outside_the_user_namespace() -> None:
    space = UserNamespace((IdMapping(0, 100000, 1000),), (IdMapping(0, 100000, 65536),))
    check_mapped(ProcessUser(999, 5, (65535,)), space)
    check_mapped(ProcessUser(5000, 5), None)
    with pytest.raises(InvalidArgument, match="user 1000 is not mapped"):
        check_mapped(ProcessUser(1000, 5), space)
    with pytest.raises(InvalidArgument, match="group 65536 is not mapped"):
        check_mapped(ProcessUser(0, 5, (65536,)), space)
