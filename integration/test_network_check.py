"""`cri-shim check` says what would keep pods from a network, and changes nothing."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cri_shim.network.hosts import Hosts, sh, wire
from tests.support.shim import BIN


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    try:
        wire(made)
        yield made
    finally:
        made.close()


def _check(hosts: Hosts, *settings: str) -> tuple[int, list[str]]:
    """Exit code and findings, on that host; nothing there is changed."""
    look = "ip link; ip addr; nft list ruleset; sysctl net.ipv4.ip_forward"
    before = sh(hosts.host, look)
    config = hosts.directory / "shim.toml"
    config.touch()
    sets = [word for s in (f"root={hosts.directory}/lib", *settings) for word in ("--set", s)]
    argv = ["nsenter", f"--net={hosts.host}", str(BIN / "cri-shim"), "check", "--config"]
    done = subprocess.run([*argv, str(config), *sets], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert sh(hosts.host, look) == before
    return done.returncode, done.stdout.splitlines()


def _about(lines: list[str], words: str) -> str:
    found = [line for line in lines if words in line]
    assert len(found) == 1, (words, lines)
    return found[0]


def test_the_native_bridge(hosts: Hosts) -> None:
    """Forwarding is off, another network is where pods would be, the firewall drops."""
    sh(
        hosts.host,
        "ip route add 10.208.4.0/24 via 192.0.2.2; nft add table inet strict;"
        "nft add chain inet strict fw '{ type filter hook forward priority 0; policy drop; }'",
    )
    code, lines = _check(hosts, "network.mode=bridge")
    assert code == 0
    forwarding = _about(lines, "forwarding of IPv4 is off")
    assert forwarding.startswith("warn ")
    assert "net.ipv4.ip_forward=1" in forwarding
    overlap = _about(lines, "subnet 10.208.0.0/16 overlaps the host's route 10.208.4.0/24 on up0")
    assert "give [network] subnet a range that this host has no route to" in overlap
    assert "chain inet strict fw" in _about(lines, "the firewall drops what this host forwards")
    sh(
        hosts.host,
        "ip route del 10.208.4.0/24; nft delete table inet strict; sysctl -q net.ipv4.ip_forward=1",
    )
    code, lines = _check(hosts, "network.mode=bridge")
    assert code == 0
    assert _about(lines, "network").startswith("ok    nothing is in the way of pods' network")


def test_a_missing_plugin(hosts: Hosts, tmp_path: Path) -> None:
    plugin = '{"type": "no-such-plugin"}'
    content = f'{{"cniVersion": "1.0.0", "name": "net", "plugins": [{plugin}]}}'
    (tmp_path / "10.conflist").write_text(content)
    code, lines = _check(hosts, f"network.conf_dir={tmp_path}")
    assert code == 1
    line = _about(lines, "CNI plugin no-such-plugin is in none of")
    assert line.startswith("ERROR ")
    assert "containernetworking-plugins" in line


def test_a_table_that_is_wrong(hosts: Hosts) -> None:
    code, lines = _check(
        hosts, "network.mode=bridge", 'network.subnet=["10.0.0.0/8", "10.1.0.0/16"]'
    )
    assert code == 1
    assert _about(lines, "at most one IPv4 and one IPv6 subnet").startswith("ERROR ")
