"""Parsing of cgroup files, mount tables and names, and what only one of the versions has.

What both versions must do alike is in tests/contracts/test_cgroups.py.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.linux.cgroups import limits, naming, readings
from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.limits import Write
from berth.linux.cgroups.naming import BadCgroupParent, Driver
from berth.linux.cgroups.readings import DeviceIo, Stall
from berth.linux.cgroups.v2 import CgroupsV2, shares
from tests.support.cgroups import Wanted

V2_FILES = {
    "cpu.max": "25000 50000\n",
    "cpu.weight": "100\n",
    "memory.current": "1000000\n",
    "memory.max": "2000000\n",
    "memory.swap.max": "max\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}


@pytest.fixture
def v2(tmp_path: Path) -> CgroupsV2:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io hugetlb\n")
    group = tmp_path / "pod"
    group.mkdir()
    for name, text in V2_FILES.items():
        (group / name).write_text(text)
    return CgroupsV2(str(tmp_path))


def test_v2_pressure(v2: CgroupsV2) -> None:
    pressure = v2.pressure("/pod")
    assert pressure is not None
    assert pressure.cpu.some == Stall(1.5, 0.25, 0.0, 1_234_000)
    assert pressure.cpu.full.total == 99_000
    assert pressure.io.some == Stall()


def test_v2_has_the_controllers_of_its_root(v2: CgroupsV2) -> None:
    assert v2.controllers == {"cpu", "memory", "pids", "io", "hugetlb"}
    assert v2.memory("/pod").swap_limit is None


def test_v2_apply_writes_the_files(v2: CgroupsV2, tmp_path: Path) -> None:
    wanted = Wanted(
        cpu_shares=1024, cpu_period=100_000, memory_limit=3_000_000, swap_limit=4_000_000
    )
    v2.apply("/pod", wanted)
    read = {name: (tmp_path / "pod" / name).read_text() for name in V2_FILES}
    assert read["cpu.weight"] == "39\n" or read["cpu.weight"].startswith("39")
    assert read["cpu.max"].startswith("25000 100000")
    assert read["memory.max"].startswith("3000000")
    assert read["memory.swap.max"].startswith("1000000")
    with pytest.raises(OSError, match="below the present use"):
        v2.apply("/pod", Wanted(unified={"memory.max": "10"}))


def test_v2_writes_in_order_with_raw_keys_last() -> None:
    wanted = Wanted(
        cpu_quota=-1,
        memory_limit=-1,
        swap_limit=-1,
        cpuset_cpus="0-3",
        hugepages=(("2MB", 0),),
        unified={"memory.high": "1G", "cpu.weight": "7"},
    )
    assert limits.v2_writes(wanted, 0, "max") == [
        Write("cpu", "cpu.max", "max"),
        Write("memory", "memory.max", "max"),
        Write("memory", "memory.swap.max", "max", True),
        Write("cpuset", "cpuset.cpus", "0-3"),
        Write("hugetlb", "hugetlb.2MB.max", "0", True),
        Write("memory", "memory.high", "1G"),
        Write("cpu", "cpu.weight", "7"),
    ]
    with pytest.raises(ValueError, match="needs a memory limit"):
        limits.v2_writes(Wanted(swap_limit=5), 0, "max")


@pytest.mark.parametrize("raised", [True, False])
def test_v1_keeps_memory_below_memory_plus_swap_at_every_moment(raised: bool) -> None:
    wanted = Wanted(memory_limit=100, swap_limit=200)
    files = [write.file for write in limits.v1_writes(wanted, 150 if raised else 250)]
    memory, both = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    assert files == ([both, memory] if raised else [memory, both])


def test_v1_refuses_raw_v2_keys() -> None:
    with pytest.raises(ValueError, match=r"memory.high.*cgroup v2"):
        limits.v1_writes(Wanted(unified={"memory.high": "1"}), 0)


def test_a_failed_write_restores_the_old_values(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "directory").mkdir()
    writes = [Write("x", "a", "new"), Write("x", "none", "1", optional=True), Write("x", "b", "1")]
    with pytest.raises(OSError, match="b"):
        limits.execute(writes, lambda write: f"{tmp_path}/{write.file}")
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(OSError, match="no cpu controller"):
        limits.execute([Write("cpu", "cpu.shares", "2")], lambda _: "")


@given(st.integers(2, 262_144))
def test_weights_and_shares_are_near_inverse(value: int) -> None:
    weight = limits.weight(value)
    assert 1 <= weight <= 10_000
    assert abs(shares(weight) - value) <= 27


def test_v1_numbers() -> None:
    assert readings.limit(b"9223372036854771712\n") is None
    assert readings.limit(b"-1") is None
    assert readings.limit(None) is None
    assert readings.limit(b"0\n") == 0
    assert readings.number(b"-1\n") == -1
    assert readings.number(b"max\n") == 0
    memory = readings.memory_v1(
        b"500\n",
        b"rss 1\nhierarchical_memory_limit 1000\nhierarchical_memsw_limit 1500\n"
        b"total_rss 200\ntotal_cache 90\ntotal_inactive_file 600\ntotal_swap 7\n",
    )
    assert (memory.working_set, memory.rss, memory.swap) == (0, 200, 7)
    assert (memory.limit, memory.swap_limit, memory.available) == (1000, 500, 1000)


def test_v1_block_io() -> None:
    transferred = b"8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:16 Read 1\nTotal 36\n"
    serviced = b"8:0 Read 1\n8:0 Write 2\nTotal 3\n"
    assert readings.io_v1(transferred, serviced) == (
        DeviceIo(8, 0, 10, 20, 1, 2),
        DeviceIo(8, 16, 1, 0, 0, 0),
    )


def _line(number: int, target: str, kind: str, options: str) -> str:
    return f"{number} 1 0:{number} / {target} rw - {kind} {kind} {options}\n"


def test_detect_layouts() -> None:
    base = "/nonexistent"
    v1 = _line(1, f"{base}/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct") + _line(
        2, f"{base}/systemd", "cgroup", "rw,xattr,name=systemd"
    )
    unified = _line(3, f"{base}/unified", "cgroup2", "rw,nsdelegate")
    assert detect(v1).layout == "v1"
    hybrid = detect(v1 + unified)
    assert hybrid.layout == "hybrid"
    assert hybrid.controllers == {"cpu", "cpuacct"}
    assert hybrid.file("cpu", "/pod/x", "cpu.shares") == f"{base}/cpu,cpuacct/pod/x/cpu.shares"
    assert hybrid.file("memory", "/pod/x", "memory.stat") == ""
    assert detect(unified).layout == "v2"
    named_only = _line(2, f"{base}/systemd", "cgroup", "rw,name=systemd") + unified
    assert detect(named_only).layout == "v2"
    with pytest.raises(OSError, match="mount cgroup2"):
        detect(_line(1, "/", "ext4", "rw"))


SLICE = "kubepods-burstable-pod1.slice"
NESTED = f"/kubepods.slice/kubepods-burstable.slice/{SLICE}"


def test_names_under_both_drivers() -> None:
    name = naming.container_path
    assert name(Driver.CGROUPFS, "/kubepods/pod1", "abc") == "/kubepods/pod1/abc"
    assert name(Driver.CGROUPFS, "", "abc") == "/berth/abc"
    assert name(Driver.SYSTEMD, NESTED, "abc") == f"{SLICE}:berth:abc"
    assert name(Driver.SYSTEMD, "", "abc") == "system.slice:berth:abc"
    assert naming.pod_path(Driver.SYSTEMD, SLICE) == NESTED
    path = naming.filesystem_path
    assert path(Driver.SYSTEMD, SLICE, "abc") == f"{NESTED}/berth-abc.scope"
    assert path(Driver.CGROUPFS, "kubepods/pod1/", "abc") == "/kubepods/pod1/abc"
    assert naming.expand_slice("-.slice") == "/"


@pytest.mark.parametrize(
    ("driver", "parent", "words"),
    [
        (Driver.CGROUPFS, "/kubepods.slice", "systemd slice.*cgroupfs driver"),
        (Driver.SYSTEMD, "/kubepods/pod1", "not a systemd slice.*systemd driver"),
        (Driver.SYSTEMD, "a--b.slice", "not a systemd slice"),
        (Driver.CGROUPFS, "/a/../../b", "climbs"),
    ],
)
def test_a_parent_of_the_other_driver_is_explained(driver: Driver, parent: str, words: str) -> None:
    with pytest.raises(BadCgroupParent, match=words):
        naming.check_parent(driver, parent)
