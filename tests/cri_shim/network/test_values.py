"""The parts that need no kernel: subnets, claims, leases, network lists, rules, counters."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, RuntimeFailure
from cri_shim.model.sandbox import PortMapping, Protocol
from cri_shim.network import subnets
from cri_shim.network.bridge.leases import Lease, Leases, link_name
from cri_shim.network.bridge.ruleset import Element, elements, render
from cri_shim.network.choice import Mode, NetworkConfig
from cri_shim.network.cni import conflist, result
from cri_shim.network.cni.conflist import ConfList
from cri_shim.network.hostports import Claims, HostPort
from cri_shim.network.pod import PodNet


class Memory:
    """`RecordTable` in memory; every document goes through JSON, as on disk."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def put(self, key: str, document: dict[str, Any], durable: bool = False) -> None:
        self.texts[key] = json.dumps(document)

    def delete(self, key: str) -> None:
        self.texts.pop(key, None)

    def all(self) -> dict[str, dict[str, Any]]:
        return {key: json.loads(text) for key, text in self.texts.items()}


def pod(number: int) -> PodNet:
    return PodNet(f"{number:064x}", f"p{number}", "ns", "uid", "/none")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "subnet is empty"),
        (["10.0.0.0/8", "10.1.0.0/16"], "at most one IPv4"),
        (["10.0.0.1/8"], "'10.0.0.1/8' is not a subnet"),
        (["ten"], "'ten' is not a subnet"),
        (["10.0.0.0/31"], "too small"),
        (["fd00::/127"], "too small"),
        (["127.0.0.0/8"], "is not one that pods can use"),
        (["224.0.0.0/8"], "is not one that pods can use"),
    ],
)
def test_bad_subnets_are_named(texts: list[str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        subnets.parse(texts)


def test_sizes_of_subnets() -> None:
    sizes = {text: subnets.parse([text])[0].size for text in ("10.0.0.0/30", "fd00::/126")}
    assert sizes == {"10.0.0.0/30": 1, "fd00::/126": 2}


def test_the_mac_follows_the_address() -> None:
    assert subnets.mac_of([ipaddress.ip_address("10.1.2.3")]) == "0a:58:0a:01:02:03"
    assert len(subnets.mac_of([ipaddress.ip_address("fd00::3")])) == 17


actions = st.lists(st.tuples(st.sampled_from(["grant", "release", "restart"]), st.integers(0, 9)))


@given(actions)
def test_no_address_is_ever_held_twice(steps: list[tuple[str, int]]) -> None:
    """Over any order of grants, returns and restarts, on a subnet that six pods fill."""
    made = subnets.parse(["10.0.0.0/29", "fd00::/64"])
    documents = Memory()
    leases = Leases(made, documents)
    held: dict[str, Lease] = {}
    for verb, number in steps:
        one = pod(number)
        match verb:
            case "grant" if one.sandbox_id not in held and len(held) == 5:
                with pytest.raises(ResourceExhausted, match="5 addresses used, 0 free"):
                    leases.grant(one, ())
            case "grant" if one.sandbox_id not in held:
                held[one.sandbox_id] = leases.grant(one, ())
            case "release":
                leases.release(one.sandbox_id)
                held.pop(one.sandbox_id, None)
            case "restart":
                leases = Leases(made, documents)
            case _:
                pass
        given_out = [address for lease in held.values() for address in lease.addresses]
        assert len(set(given_out)) == len(given_out)
        assert {lease.sandbox: lease for lease in leases} == held
        assert documents.all().keys() == held.keys()


def test_an_address_rests_before_its_next_use() -> None:
    leases = Leases(subnets.parse(["10.0.0.0/29"]), Memory())
    first = leases.grant(pod(1), ()).addresses
    leases.release(pod(1).sandbox_id)
    assert leases.grant(pod(2), ()).addresses != first


def test_leases_of_another_subnet_are_kept_and_released() -> None:
    documents = Memory()
    Leases(subnets.parse(["10.0.0.0/29"]), documents).grant(pod(1), ())
    later = Leases(subnets.parse(["10.9.0.0/29"]), documents)
    assert str(later.grant(pod(2), ()).addresses[0]) == "10.9.0.2"
    later.release(pod(1).sandbox_id)
    assert len(later) == 1


def test_subnets_of_pods_are_served_until_these_go() -> None:
    old, new = subnets.parse(["10.0.0.0/29"]), subnets.parse(["10.9.0.0/29"])
    documents = Memory()
    leases = Leases(old, documents)
    leases.grant(pod(1), ())
    leases.use(new)
    assert leases.served == Leases(new, documents).served == (*new, *old)
    with pytest.raises(FailedPrecondition, match=r"pod .* has 10\.0\.0\.2"):
        leases.use(subnets.parse(["10.0.0.0/24"]))
    assert leases.subnets == new
    leases.use(old)
    assert str(leases.grant(pod(2), ()).addresses[0]) == "10.0.0.3"
    leases.release(pod(1).sandbox_id)
    assert leases.served == old


def test_link_names_fit_the_kernel() -> None:
    assert link_name("0123456789abcdef" * 4) == "bv0123456789ab"


mappings = st.builds(
    PortMapping,
    st.sampled_from(Protocol),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["", "0.0.0.0", "::", "192.0.2.1", "192.0.2.2", "fd00::1"]),
)


@given(st.lists(st.tuples(st.integers(0, 4), mappings), max_size=12))
def test_claims_never_meet(wanted: list[tuple[int, PortMapping]]) -> None:
    claims = Claims()
    held: dict[int, HostPort] = {}
    for number, mapping in wanted:
        port = HostPort.of(mapping)
        meets = any(port.meets(other) for key, other in held.items() if key != number)
        try:
            claims.take(str(number), f"pod{number}", [mapping])
        except ResourceExhausted:
            assert meets
        else:
            assert not meets
            held[number] = port


@given(mappings, mappings)
def test_meeting_is_symmetric_and_records_are_exact(one: PortMapping, two: PortMapping) -> None:
    first, second = HostPort.of(one), HostPort.of(two)
    assert first.meets(second) == second.meets(first)
    assert HostPort.from_document(json.loads(json.dumps(first.document()))) == first


def test_one_pod_may_not_ask_twice() -> None:
    port = PortMapping(Protocol.TCP, 80, 80, "")
    with pytest.raises(InvalidArgument, match="asks twice for host port TCP 80"):
        Claims().take("a", "ns/a", [port, port])


def test_elements_of_a_pod() -> None:
    addresses = [ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("fd00::2")]
    port = HostPort.of(PortMapping(Protocol.UDP, 53, 5353, ""))
    four, six = elements(addresses, [port])
    assert (four.map, str(four)) == ("ports4", "17 . 5353 : 10.0.0.2 . 53")
    assert four.key.hex() == "11000000" + "14e90000"
    assert four.data.hex() == "0a000002" + "00350000"
    assert six.map == "ports6"
    only = HostPort.of(PortMapping(Protocol.TCP, 80, 80, "192.0.2.1"))
    (one,) = elements(addresses, [only])
    assert one.map == "at4"
    assert one.key.hex() == "c0000201" + "06000000" + "00500000"


def test_the_table_holds_only_the_families_given() -> None:
    four = render("berth", "b0", subnets.parse(["10.0.0.0/24"]), [])
    assert "ports4" in four
    assert "ports6" not in four
    entry = Element(Protocol.TCP, None, 80, ipaddress.ip_address("fd00::2"), 80)
    six = render("berth", "b0", subnets.parse(["fd00::/64"]), [entry])
    assert "elements = { 6 . 80 : fd00::2 . 80 }" in six
    assert "ports4" not in six


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"name": "../x"}', "name '../x' is not a network name"),
        (b'{"name": "n", "cniVersion": "1.0.0", "plugins": []}', "not a list with a plugin"),
        (b'{"name": "n", "cniVersion": "1.0.0", "plugins": [{}]}', r"plugins\[0\].type None"),
        (b'{"name": "n", "cniVersion": "1.0.0", "plugins": [1]}', r"plugins\[0\] is not a JSON"),
        (b'{"name": "n", "cniVersion": "1.0.0", "type": "../../bin/sh"}', "is not the name of"),
        (b'{"name": "n", "type": "bridge"}', "cniVersion '0.2.0' is not supported"),
        (b'{"name": "n", "cniVersion": "9.0.0", "type": "b"}', "use one of 0.3.1 to 1.1.0"),
        (b'{"name": "n", "cniVersions": 1, "type": "b"}', "cniVersions is not a list"),
    ],
)
def test_bad_network_lists_are_explained(text: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"x.conflist.*{words}"):
        conflist.parse(text, "x.conflist")


def test_the_newest_common_version_is_taken() -> None:
    text = b'{"name":"n","cniVersion":"0.4.0","cniVersions":["1.0.0","9.9.9"],"type":"b"}'
    assert conflist.parse(text, "x").version == "1.0.0"


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["1.0.0", "n", "type"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "plugins", "cniVersion", "type"]), inner)
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_file_breaks_the_reader(data: bytes) -> None:
    try:
        read = conflist.parse(data, "x")
    except InvalidArgument:
        return
    assert ConfList.from_document(json.loads(json.dumps(read.document()))) == read


def test_plain_addresses_without_interfaces_are_the_pods() -> None:
    assert result.addresses({"ips": [{"address": "10.0.0.2/24"}]}, "n") == ("10.0.0.2",)
    with pytest.raises(RuntimeFailure, match="no address on eth0"):
        result.addresses({"ips": [{"address": "10.0.0.2/24", "interface": 7}]}, "n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "fast"}, "mode 'fast' is none of auto, cni, bridge, none"),
        ({"bridge": "a" * 16}, "is not a name of a link"),
        ({"bridge": "a/b"}, "is not a name of a link"),
        ({"mtu": 100}, "mtu 100"),
        ({"plugin_timeout": 0.0}, "plugin_timeout"),
        ({"subnet": ("x",)}, "subnet 'x'"),
    ],
)
def test_configuration_is_checked(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        NetworkConfig(**change).checked()


def test_the_default_configuration_is_good() -> None:
    mode, bridge, cni = NetworkConfig().checked()
    assert (mode, bridge.name, cni.conf_dir) == (Mode.AUTO, "berth0", Path("/etc/cni/net.d"))
