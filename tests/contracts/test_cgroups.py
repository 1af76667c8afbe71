"""The contract of `Cgroups`: v1, v2 and hybrid hosts keep it alike.

First on real groups of every kind that this kernel gives: the host's own layout; the v2 hierarchy
mounted apart, with whatever controllers it has here; and a v1 hierarchy without controllers, which
every kernel mounts. Then on directories of plain files, which say the same in the words of either
version: there readings and limits are compared whatever the host has.
"""

import errno
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from berth.linux import mounts
from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.readings import Cpu, DeviceIo, HugePages, Memory, Pids
from berth.linux.cgroups.v1 import CgroupsV1
from berth.linux.cgroups.v2 import CgroupsV2
from berth.linux.files import read_text
from tests.support.cgroups import Wanted
from tests.support.mounts import filesystem


@dataclass
class Case:
    """A hierarchy and a group of our own in it."""

    cgroups: Cgroups
    path: str
    roots: list[str]
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, path: str, *argv: str) -> "subprocess.Popen[bytes]":
        """Run a program that has entered the group by itself, so that all it does counts there."""
        files = [f"{root}{path}/cgroup.procs" for root in self.roots]
        script = 'while [ "$1" != -- ]; do echo $$ > $1 || exit 99; shift; done; shift; exec "$@"'
        child = subprocess.Popen(["sh", "-c", script, "sh", *files, "--", *argv])
        self.children.append(child)
        return child


def _host() -> tuple[Cgroups, list[str]]:
    cgroups = detect()
    roots = {cgroups.file(name, "/", "").rstrip("/") for name in cgroups.controllers}
    return cgroups, sorted(roots)


@pytest.fixture(scope="module")
def hierarchies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Names of v1 hierarchies made by tests: one outlives its last mount while groups removed from
    it linger in the kernel, and ends at the next unmount after that."""
    names: list[str] = []
    yield names
    directory = tmp_path_factory.mktemp("hierarchy")
    for _ in range(5):
        # Time for the kernel to take down what the last unmount released: a mount revives it.
        # A mount namespace that others made meanwhile may hold it longer than we can wait.
        time.sleep(1)
        left = [n for n in names if f"name={n}:" in Path("/proc/self/cgroup").read_text()]
        if not left:
            return
        for name in left:
            filesystem(name, directory, "cgroup", data=f"none,name={name}")
            mounts.unmount(directory)


@pytest.fixture(params=["host", "v2", "v1 without controllers"])
def case(request: pytest.FixtureRequest, tmp_path: Path, hierarchies: list[str]) -> Iterator[Case]:
    if request.param == "host":
        cgroups, roots = _host()
    else:
        kind = "cgroup2" if request.param == "v2" else "cgroup"
        name = f"berth-test-{secrets.token_hex(4)}"
        data = "" if kind == "cgroup2" else f"none,name={name}"
        hierarchies.append(name)
        filesystem(name, tmp_path, kind, data=data)
        roots = [str(tmp_path)]
        cgroups = CgroupsV2(roots[0]) if kind == "cgroup2" else CgroupsV1({name: roots[0]})
    made = Case(cgroups, f"/berth-test-{secrets.token_hex(4)}", roots)
    try:
        yield made
    finally:
        if cgroups.exists(made.path):
            cgroups.kill(made.path)
        for child in made.children:
            child.wait()
        cgroups.remove(made.path)
        mounts.unmount(tmp_path)
    assert not mounts.exists_at(tmp_path)


@pytest.fixture
def host() -> Iterator[Case]:
    cgroups, roots = _host()
    made = Case(cgroups, f"/berth-test-{secrets.token_hex(4)}", roots)
    cgroups.create(made.path)
    try:
        yield made
    finally:
        cgroups.kill(made.path)
        for child in made.children:
            child.wait()
        cgroups.remove(made.path)
    left = [root for root in roots if Path(f"{root}{made.path}").exists()]
    assert left == []


def _until_inside(case: Case, path: str, count: int) -> list[int]:
    while len(found := case.cgroups.processes(path)) < count:
        assert all(child.poll() is None for child in case.children)
    return found


def test_create_and_remove(case: Case) -> None:
    leaf = f"{case.path}/pod/container"
    for _ in range(2):
        case.cgroups.create(leaf)
    assert case.cgroups.exists(leaf)
    assert case.cgroups.processes(case.path) == []
    for _ in range(2):
        case.cgroups.remove(case.path)
    assert not case.cgroups.exists(case.path)


def test_a_process_below_counts_and_holds(case: Case) -> None:
    leaf = f"{case.path}/container"
    case.cgroups.create(leaf)
    child = case.start(leaf, "sleep", "60")
    assert _until_inside(case, case.path, 1) == [child.pid]
    with pytest.raises(OSError, match=str(child.pid)) as caught:
        case.cgroups.remove(case.path, timeout=0.01)
    assert caught.value.errno == errno.EBUSY


def test_remove_waits_for_a_process_that_leaves(case: Case) -> None:
    case.cgroups.create(case.path)
    child = case.start(case.path, "sleep", "60")
    _until_inside(case, case.path, 1)
    child.kill()
    case.cgroups.remove(case.path)
    assert not case.cgroups.exists(case.path)


def test_kill_ends_all_below_even_who_forks(case: Case) -> None:
    leaf = f"{case.path}/container"
    case.cgroups.create(leaf)
    storm = "while :; do sh -c 'sleep 60' & sh -c 'sleep 0.001'; done"
    case.start(leaf, "sh", "-c", storm)
    _until_inside(case, case.path, 5)
    case.cgroups.kill(case.path)
    assert case.cgroups.processes(case.path) == []


def test_kill_ends_a_paused_container_too(host: Case) -> None:
    leaf = f"{host.path}/paused"
    host.cgroups.create(leaf)
    host.start(leaf, "sleep", "60")
    _until_inside(host, leaf, 1)
    if host.cgroups.layout == "v2":
        Path(host.cgroups.file("", leaf, "cgroup.freeze")).write_text("1")
    else:
        Path(host.cgroups.file("freezer", leaf, "freezer.state")).write_text("FROZEN")
    host.cgroups.kill(host.path)
    assert host.cgroups.processes(host.path) == []


def test_the_root_and_paths_that_climb_are_refused(case: Case) -> None:
    for refused in (case.cgroups.kill, case.cgroups.remove):
        with pytest.raises(ValueError, match="root cgroup"):
            refused("/")
        with pytest.raises(ValueError, match="climbs"):
            refused("/a/../..")
    with pytest.raises(ValueError, match="climbs"):
        case.cgroups.create("/../x")


def test_readings_of_a_missing_group_are_zeros(case: Case) -> None:
    none = "/berth-test-none"
    assert not case.cgroups.exists(none)
    assert case.cgroups.cpu(none).usage == 0
    assert case.cgroups.memory(none).usage == 0
    assert case.cgroups.memory(none).limit is None
    assert case.cgroups.pids(none).current == 0
    assert case.cgroups.oom_kills(none) == 0
    assert case.cgroups.hugetlb(none) == ()
    assert case.cgroups.io(none) == ()
    assert case.cgroups.pressure(none) is None
    assert case.cgroups.processes(none) == []


def test_the_daemon_never_kills_itself(case: Case) -> None:
    """A group that holds ourselves is refused; one without controllers is safe to enter."""
    if case.cgroups.controllers and case.cgroups.layout != "v2":
        return  # our own memory group is not to be left
    case.cgroups.create(case.path)
    before = _own_group(case)
    Path(f"{case.roots[0]}{case.path}/cgroup.procs").write_text(str(os.getpid()))
    try:
        with pytest.raises(PermissionError, match="daemon itself"):
            case.cgroups.kill(case.path)
    finally:
        Path(f"{case.roots[0]}{before}/cgroup.procs").write_text(str(os.getpid()))


def _own_group(case: Case) -> str:
    lines = (read_text("/proc/self/cgroup") or "").splitlines()
    wanted = "0::" if case.cgroups.layout == "v2" else "berth-test"
    return next(line.partition(":")[2].partition(":")[2] for line in lines if wanted in line)


def test_limits_are_set_and_read(host: Case) -> None:
    wanted = Wanted(
        cpu_shares=512,
        cpu_period=50_000,
        cpu_quota=25_000,
        memory_limit=64 << 20,
        swap_limit=64 << 20,
        cpuset_cpus="0",
        hugepages=(("1TB", 0),),
    )
    host.cgroups.apply(host.path, wanted)
    cpu = host.cgroups.cpu(host.path)
    assert (cpu.quota, cpu.period) == (25_000, 50_000)
    assert abs(cpu.shares - 512) < 30  # v2 keeps a coarser weight
    assert host.cgroups.memory(host.path).limit == 64 << 20
    for size in (128 << 20, 32 << 20):
        host.cgroups.apply(host.path, Wanted(memory_limit=size, swap_limit=size))
        assert host.cgroups.memory(host.path).limit == size
    host.cgroups.apply(host.path, Wanted(memory_limit=-1, swap_limit=-1, cpu_quota=-1))
    assert host.cgroups.memory(host.path).limit is None
    assert host.cgroups.cpu(host.path).quota is None
    assert host.cgroups.cpu(host.path).period == 50_000


def test_a_refused_limit_changes_nothing(host: Case) -> None:
    before = host.cgroups.cpu(host.path)
    with pytest.raises(OSError, match=r"cannot set to '4095'.*cpuset.cpus"):
        host.cgroups.apply(host.path, Wanted(cpu_shares=99, cpuset_cpus="4095"))
    assert host.cgroups.cpu(host.path) == before
    with pytest.raises(ValueError, match="below the memory limit"):
        host.cgroups.apply(host.path, Wanted(memory_limit=2 << 20, swap_limit=1 << 20))


def test_usage_of_a_process_is_counted(host: Case) -> None:
    program = "import sys; held = bytearray(b'x') * (24 << 20); print('ready', flush=True); input()"
    read, write = os.pipe()
    child = _python(host, program, read)
    while host.cgroups.memory(host.path).usage < 24 << 20:
        assert child.poll() is None
    memory = host.cgroups.memory(host.path)
    assert memory.rss >= 20 << 20
    assert memory.working_set <= memory.usage
    assert memory.max_usage >= memory.usage // 2
    assert memory.faults > 1000
    assert host.cgroups.pids(host.path).current >= 1
    assert host.cgroups.cpu(host.path).usage > 1_000_000
    with pytest.raises(OSError, match="below the present use") as caught:
        host.cgroups.apply(host.path, Wanted(memory_limit=8 << 20))
    assert caught.value.errno == errno.EBUSY
    assert memory.limit == host.cgroups.memory(host.path).limit
    os.close(read)
    os.close(write)


def _python(host: Case, program: str, stdin: int) -> "subprocess.Popen[bytes]":
    files = [f"{root}{host.path}/cgroup.procs" for root in host.roots]
    script = 'while [ "$1" != -- ]; do echo $$ > $1; shift; done; shift; exec "$@"'
    argv = ["sh", "-c", script, "sh", *files, "--", sys.executable, "-c", program]
    child = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.DEVNULL)
    host.children.append(child)
    return child


def test_a_kill_for_want_of_memory_is_counted(host: Case) -> None:
    host.cgroups.apply(host.path, Wanted(memory_limit=32 << 20, swap_limit=32 << 20))
    assert host.cgroups.oom_kills(host.path) == 0
    child = host.start(host.path, sys.executable, "-c", "bytearray(b'x') * (200 << 20)")
    assert child.wait() == -9
    assert host.cgroups.oom_kills(host.path) == 1


# What follows runs over both implementations on any host: a group of plain files.

V1_FILES = {
    "cpu": {
        "cpu.shares": "2\n",
        "cpu.cfs_quota_us": "25000\n",
        "cpu.cfs_period_us": "50000\n",
        "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 77000\n",
    },
    "cpuacct": {"cpuacct.usage": "5000000000\n", "cpuacct.stat": "user 300\nsystem 200\n"},
    "memory": {
        "memory.usage_in_bytes": "1000000\n",
        "memory.max_usage_in_bytes": "1500000\n",
        "memory.failcnt": "9\n",
        "memory.kmem.usage_in_bytes": "50000\n",
        "memory.soft_limit_in_bytes": "9223372036854771712\n",
        "memory.limit_in_bytes": "2000000\n",
        "memory.memsw.limit_in_bytes": "3000000\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        "memory.stat": "rss 1\ntotal_rss 1\nhierarchical_memory_limit 2000000\n"
        "hierarchical_memsw_limit 3000000\ntotal_cache 300000\ntotal_rss 600000\n"
        "total_mapped_file 1000\ntotal_swap 4096\ntotal_pgfault 33\ntotal_pgmajfault 2\n"
        "total_inactive_file 100000\n",
    },
    "pids": {"pids.current": "5\n", "pids.max": "max\n"},
    "hugetlb": {
        "hugetlb.2MB.usage_in_bytes": "4194304\n",
        "hugetlb.2MB.max_usage_in_bytes": "0\n",
        "hugetlb.2MB.limit_in_bytes": "9223372036854771712\n",
    },
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 200\nTotal 300\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
    },
}
V2_FILES = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\n"
    "nr_throttled 4\nthrottled_usec 77\n",
    "cpu.max": "25000 50000\n",
    "cpu.weight": "1\n",
    "memory.current": "1000000\n",
    "memory.peak": "1500000\n",
    "memory.max": "2000000\n",
    "memory.low": "0\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "1000000\n",
    "memory.stat": "anon 600000\nfile 300000\nkernel 50000\nfile_mapped 1000\n"
    "inactive_file 100000\npgfault 33\npgmajfault 2\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=0 dios=0\n254:0 \n",
    "hugetlb.2MB.current": "4194304\n",
    "hugetlb.2MB.max": "max\n",
}


@pytest.fixture(params=["v1", "v2"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Cgroups:
    """A host whose only group is /pod, of plain files."""
    if request.param == "v1":
        for controller, contents in V1_FILES.items():
            _write(tmp_path / controller / "pod", contents)
        return CgroupsV1({controller: str(tmp_path / controller) for controller in V1_FILES})
    _write(tmp_path / "pod", V2_FILES)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io hugetlb\n")
    return CgroupsV2(str(tmp_path))


def _write(group: Path, contents: Mapping[str, str]) -> None:
    group.mkdir(parents=True)
    for name, text in contents.items():
        (group / name).write_text(text)


def test_readings_mean_the_same(files: Cgroups) -> None:
    assert files.cpu("/pod") == Cpu(
        usage=5_000_000_000,
        user=3_000_000_000,
        system=2_000_000_000,
        periods=10,
        throttled_periods=4,
        throttled=77_000,
        shares=2,
        quota=25_000,
        period=50_000,
    )
    assert files.memory("/pod") == Memory(
        usage=1_000_000,
        working_set=900_000,
        rss=600_000,
        cache=300_000,
        mapped_file=1000,
        kernel=50_000,
        faults=33,
        major_faults=2,
        swap=4096,
        max_usage=1_500_000,
        failures=9,
        limit=2_000_000,
        swap_limit=1_000_000,
        reservation=None,
    )
    assert files.memory("/pod").available == 1_100_000
    assert files.pids("/pod") == Pids(5, None)
    assert files.oom_kills("/pod") == 1
    assert files.hugetlb("/pod") == (HugePages("2MB", 4 << 20, 0, None),)
    assert files.io("/pod") == (DeviceIo(8, 0, 100, 200, 3, 4),)


def test_limits_mean_the_same(files: Cgroups) -> None:
    """Written over what is there, as long as the values are: plain files are not cut off."""
    files.apply(
        "/pod", Wanted(cpu_shares=2, cpu_quota=50_000, memory_limit=4_000_000, swap_limit=5_000_000)
    )
    assert (files.cpu("/pod").quota, files.cpu("/pod").shares) == (50_000, 2)
    written = {
        name: Path(path).read_text().strip()
        for name in ("memory.limit_in_bytes", "memory.max", "memory.memsw.limit_in_bytes")
        if Path(path := files.file("memory", "/pod", name)).exists()
    }
    assert written in (
        {"memory.limit_in_bytes": "4000000", "memory.memsw.limit_in_bytes": "5000000"},
        {"memory.max": "4000000"},
    )


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Wanted(cpu_shares=9, memory_limit=999_999), "below the present use of 1000000"),
        (Wanted(cpu_shares=9, memory_limit=3_000_000, swap_limit=2_999_999), "memory plus swap"),
        (Wanted(cpu_shares=9, hugepages=(("2MB", 1),), cpuset_cpus="0"), "cpuset"),
    ],
)
def test_what_is_refused_changes_nothing(files: Cgroups, wanted: Wanted, error: str) -> None:
    before = (files.cpu("/pod"), files.memory("/pod"), files.hugetlb("/pod"))
    with pytest.raises((OSError, ValueError), match=error):
        files.apply("/pod", wanted)
    assert (files.cpu("/pod"), files.memory("/pod"), files.hugetlb("/pod")) == before


def test_limits_that_the_host_cannot_hold_are_left_out(files: Cgroups) -> None:
    files.apply("/pod", Wanted(hugepages=(("1GB", 0),)))
    assert [pages.size for pages in files.hugetlb("/pod")] == ["2MB"]
