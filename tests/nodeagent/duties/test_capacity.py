"""What the host has, and how groups share it."""

from pathlib import Path

from nodeagent.duties.capacity import group_capacities, host_capacity


def test_the_host_as_the_kernel_shows_it(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       4194304 kB\nMemFree: 1 kB\n")
    for size, pages in (("2048", 8), ("1048576", 1), ("64", 0)):
        directory = tmp_path / f"hugepages-{size}kB"
        directory.mkdir()
        (directory / "nr_hugepages").write_text(f"{pages}\n")
    found = host_capacity(tmp_path / "meminfo", tmp_path)
    assert found.pop("cpu") % 1000 == 0
    large = {"hugepages-1Gi": 1 << 30, "hugepages-2Mi": 16 << 20}
    assert found == {"memory": (3 << 30) - (16 << 20), **large}


def test_this_host() -> None:
    found = host_capacity()
    assert found["cpu"] >= 1000 and found["memory"] > 1 << 20


def test_the_first_group_has_what_the_slices_leave() -> None:
    found = group_capacities(
        ["rest", "gpus", "empty"],
        {"cpu": 8000, "memory": 100},
        {"memory": 0, "slots": 5},
        {"gpus": {"cpu": 2000, "slots": 5}, "other": {"cpu": 1}},
    )
    assert found == {"rest": {"cpu": 6000}, "gpus": {"cpu": 2000, "slots": 5}, "empty": {}}
