"""Usage of real groups on this host, and of a full cgroup v2 on a directory of plain files."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux.cgroups.detection import detect
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.readings import Memory, Stall
from berth.linux.cgroups.v2 import CgroupsV2
from cri_shim.stats.detail import device_name, read_detail, read_processes
from cri_shim.stats.group import Group
from cri_shim.stats.metrics import (
    DESCRIPTORS,
    POD,
    Sample,
    Subject,
    container_samples,
    pod_samples,
)
from cri_shim.stats.network import parse
from cri_shim.stats.reading import container_usage, count_processes, pod_usage, read_groups
from cri_shim.stats.sampler import Sampler
from cri_shim.stats.series import Kind
from cri_shim.stats.usage import U64, LayerUsage, swap_available, u64

GOLDEN = Path(__file__).parents[2] / "golden" / "stats" / "cadvisor_names.txt"
SUBJECT = Subject("/kubepods/pod1/c", "c", "busybox", "default", "web", "main")
PROGRAM = """
import socket, sys
held = bytearray(b"x") * (16 << 20)
sockets = [socket.socket() for _ in range(3)]
sum(range(3_000_000))
print("ready", flush=True)
input()
"""


class Running:
    """A group with one Python process that holds memory and sockets."""

    def __init__(self) -> None:
        self.cgroups = detect()
        self.pod = f"/berth-stats-{secrets.token_hex(4)}"
        self.path = f"{self.pod}/c"
        self.cgroups.create(self.path)
        files = {
            self.cgroups.file(name, self.path, "cgroup.procs") for name in self.cgroups.controllers
        }
        script = 'while [ "$1" != -- ]; do echo $$ > $1; shift; done; shift; exec "$@"'
        argv = ["sh", "-c", script, "sh", *files, "--", sys.executable, "-c", PROGRAM]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self.cgroups.kill(self.pod)
        self.process.communicate()
        self.cgroups.remove(self.pod)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.close()


def test_usage_of_a_running_group(running: Running) -> None:
    sampler = Sampler()
    began = time.monotonic_ns() - 2_000_000_000
    group = Group(running.cgroups, running.path)
    sampler.watch("c", group, began)
    layer = LayerUsage(1, "/", 2, 3)
    usage = container_usage("c", read_groups({"c": group})["c"], sampler, layer)
    assert usage.layer is layer
    assert usage.group.cpu > 10_000_000
    assert usage.nano_cores is not None
    assert 0 < usage.nano_cores < usage.group.cpu
    assert usage.group.memory.usage >= usage.group.memory.working_set > 0
    assert usage.group.memory.rss > 16 << 20
    assert usage.group.memory.faults > 0
    assert abs(usage.group.at - time.time_ns()) < 60_000_000_000


def test_the_fast_reading_says_what_the_careful_one_does(running: Running) -> None:
    group = Group(running.cgroups, running.path).read()
    assert group is not None
    memory = running.cgroups.memory(running.path)
    for field in ("rss", "limit", "swap", "swap_limit", "mapped_file"):
        assert getattr(group.memory, field) == getattr(memory, field)
    assert running.cgroups.cpu(running.path).usage >= group.cpu


def test_a_pod_with_a_group_and_one_whose_is_gone(running: Running) -> None:
    sampler = Sampler()
    own, pods = Group(running.cgroups, running.path), Group(running.cgroups, running.pod)
    assert count_processes([pods, own]) == [1, 1]
    read = read_groups({"c": own, "p": pods})
    container = container_usage("c", read["c"], sampler)
    pod = pod_usage("p", read["p"], [], sampler, processes=1)
    assert pod.processes == 1
    assert pod.group.cpu >= container.group.cpu
    summed = pod_usage("q", None, [container, container], sampler)
    assert summed.group.cpu == 2 * container.group.cpu
    assert summed.group.memory.rss == 2 * container.group.memory.rss
    assert summed.group.memory.limit is None


def test_a_group_that_is_gone(running: Running) -> None:
    group = Group(running.cgroups, "/berth-stats-none/c")
    assert group.read() is None
    assert group.cpu_time() is None
    assert read_groups({"x": group}) == {}
    assert count_processes([group]) == [0]
    assert pod_usage("y", None, [], Sampler()).group.cpu == 0
    assert read_detail(running.cgroups, "/berth-stats-none", 0) is None


def _names(samples: list[Sample]) -> set[str]:
    return {sample.name for sample in samples}


NETDEV = b"  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"


def test_descriptors_are_the_known_names() -> None:
    assert [descriptor.name for descriptor in DESCRIPTORS] == GOLDEN.read_text().split()
    for descriptor in DESCRIPTORS:
        assert descriptor.help
        assert descriptor.labels[:6] == ("id", "name", "image", "namespace", "pod", "container")


OPTIONAL = (
    "container_pressure_",
    "container_hugetlb_",
    "container_fs_reads",
    "container_fs_writes",
)
"""What a host may lack: pressure (v1), huge pages, accounted disks."""


def test_samples_of_a_running_group(running: Running) -> None:
    layer = LayerUsage(1, "/", 12345, 3)
    detail = read_detail(running.cgroups, running.path, 1_700_000_000_500_000_000, layer)
    assert detail is not None
    samples = container_samples(SUBJECT, detail)
    network = pod_samples(Subject("/p", "s", "", "default", "web", POD), parse(NETDEV, 7))
    labels = {descriptor.name: descriptor.labels for descriptor in DESCRIPTORS}
    for sample in (*samples, *network):
        assert len(sample.label_values) == len(labels[sample.name])
        assert all(isinstance(value, str) for value in sample.label_values)
    missing = set(labels) - _names(samples) - _names(network)
    assert {
        name
        for name in missing
        if not name.startswith((*OPTIONAL, "container_blkio", "container_spec_cpu_quota"))
    } == set()
    value = {sample.name: sample.value for sample in samples}
    assert value["container_sockets"] == 3
    assert value["container_file_descriptors"] >= 6
    assert value["container_processes"] == value["container_threads"] == 1
    assert value["container_fs_usage_bytes"] == 12345
    assert value["container_start_time_seconds"] == 1_700_000_000.5
    assert value["container_ulimits_soft"] > 0
    assert value["container_spec_cpu_shares"] >= 2
    assert value["container_oom_events_total"] == 0


def test_whole_numbers_and_clamps() -> None:
    def whole(value: float) -> int:
        return Sample("x", 0, Kind.GAUGE, (), value).whole

    assert [whole(v) for v in (1.9, -1, float("inf"), float("nan"), 1 << 64)] == [1, 0, U64, 0, U64]
    assert u64(U64) == U64


def test_network_samples_one_an_interface() -> None:
    subject = Subject("/p", "s", "", "default", "web", POD)
    samples = pod_samples(subject, parse(NETDEV + NETDEV.replace(b"eth0", b"net1"), 7))
    assert len(samples) == 16
    by_key = {(s.name, s.label_values[-1]): s.value for s in samples}
    assert by_key["container_network_receive_bytes_total", "eth0"] == 1
    assert by_key["container_network_transmit_packets_dropped_total", "net1"] == 8
    assert {s.kind for s in samples} == {Kind.COUNTER}


V2 = {
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n",
    "cpu.max": "20000 100000\n",
    "cpu.weight": "100\n",
    "memory.current": "1000000\n",
    "memory.stat": "anon 600000\nfile 300000\ninactive_file 100000\npgfault 33\npgmajfault 2\n",
    "memory.max": "2000000\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "8192\n",
    "memory.events": "oom_kill 3\n",
    "pids.current": "5\n",
    "pids.max": "100\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "io.stat": "250:7 rbytes=100 wbytes=200 rios=3 wios=4\n",
    "cgroup.procs": "",
    "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=3000000\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}


@pytest.fixture
def v2(tmp_path: Path) -> Cgroups:
    (tmp_path / "pod").mkdir()
    for name, text in V2.items():
        (tmp_path / "pod" / name).write_text(text)
    return CgroupsV2(str(tmp_path))


def test_a_group_of_v2(v2: Cgroups) -> None:
    usage = Group(v2, "/pod").read()
    assert usage is not None
    assert usage.cpu == 5_000_000
    assert usage.memory.working_set == 900_000
    assert usage.memory.available == 1_100_000
    assert usage.pressure is not None
    assert usage.pressure.cpu.some == Stall(1.5, 0.25, 0.0, 3_000_000_000)
    assert swap_available(usage.memory) == 4096


def test_all_names_on_v2(v2: Cgroups) -> None:
    detail = read_detail(v2, "/pod", 1, LayerUsage(1, "/", 1, 1))
    assert detail is not None
    samples = container_samples(SUBJECT, detail)
    expected = set(GOLDEN.read_text().split())
    assert {n for n in expected if "_network_" not in n} - _names(samples) == {
        "container_ulimits_soft"  # no process is in there
    }
    value = {sample.name: sample.value for sample in samples}
    assert value["container_pressure_cpu_waiting_seconds_total"] == 3.0
    assert value["container_spec_cpu_quota"] == 20_000
    assert value["container_spec_memory_swap_limit_bytes"] == 8192
    assert value["container_threads_max"] == 100
    blkio = [s.label_values[6:] for s in samples if s.name == "container_blkio_device_usage_total"]
    assert blkio == [("250:7", "250", "7", "Read"), ("250:7", "250", "7", "Write")]


def test_pressure_that_is_switched_off(v2: Cgroups, tmp_path: Path) -> None:
    (tmp_path / "pod" / "cpu.pressure").unlink()
    usage = Group(v2, "/pod").read()
    assert usage is not None
    assert usage.pressure is None


def test_swap_without_limit() -> None:
    assert swap_available(Memory()) is None


def test_processes_that_are_gone() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    found = read_processes([child.pid])
    assert (found.descriptors, found.sockets, found.soft_limits) == (0, 0, ())
    assert device_name(4095, 99) == "4095:99"
    device = os.stat("/").st_dev
    assert device_name(os.major(device), os.minor(device))
