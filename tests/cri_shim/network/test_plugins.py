"""CNI with plugins that misbehave: every failure in words, and nothing left behind."""

import asyncio
import json
import time

import pytest

from berth.base.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from berth.base.errors import RuntimeFailure as Failure
from cri_shim.model.sandbox import DnsConfig
from tests.cri_shim.network.cni_directory import RESULT, CniHost, answer
from tests.cri_shim.network.hosts import Hosts, port, until

ON_ADD = '[ "$CNI_COMMAND" = ADD ] || exit 0; '


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ON_ADD, r"plugin bad \(ADD for network testnet\) ended well but printed no result"),
        (ON_ADD + "echo hello; exit 0", r"plugin bad .* not a result: 'hello"),
        (ON_ADD + "echo []; exit 0", r"not a result: '\[\]"),
        (ON_ADD + "exit 3", r"plugin bad .* failed: exit code 3, and it printed nothing"),
        (ON_ADD + "echo oops >&2; exit 1", r"plugin bad .* failed: oops"),
        (
            ON_ADD
            + """echo '{"code": 7, "msg": "no way", "details": "at all"}'; echo dbg >&2; exit 1""",
            r"plugin bad .* failed: no way: at all \(code 7\); dbg",
        ),
        (answer({"ips": []}), r"gave the pod no address on eth0: its result is"),
        (
            answer({**RESULT, "ips": [{"address": "10.1.0.1/16", "interface": 0}]}),
            r"no address on eth0",
        ),
        (answer({"ips": [{"address": "ten"}]}), r"address .*ten.* in the result is none"),
        (ON_ADD + "kill -9 $$", r"plugin bad .* failed: exit code 137"),
    ],
)
async def test_a_bad_plugin_is_named_and_undone(
    hosts: Hosts, cni: CniHost, body: str, words: str
) -> None:
    cni.write("10.conflist", cni.fake("good", answer()), cni.fake("bad", body))
    network = await cni.start()
    with pytest.raises(Failure, match=f"pod default/pod1: .*{words}"):
        await network.attach(hosts.pod(1, port(80, 8080)))
    assert [command for command, *_ in cni.calls()] == ["ADD", "ADD", "DEL", "DEL"]
    assert cni.records.all() == {}
    cni.fake("bad", answer())
    await network.attach(hosts.pod(2, port(80, 8080)))


async def test_chained_results_capabilities_and_arguments(hosts: Hosts, cni: CniHost) -> None:
    first = cni.fake("first", answer())
    wanted = {"portMappings": True, "dns": True, "cgroupPath": True, "bandwidth": False}
    wanted |= {"io.kubernetes.cri.pod-annotations": True}
    second = {**cni.fake("second", answer()), "capabilities": wanted, "mine": 1}
    cni.write("10.conflist", first, second)
    network = await cni.start()
    pod = hosts.pod(
        1,
        port(80, 8080, host_ip="192.0.2.1"),
        port(81, 0),
        annotations={"a": "b", "kubernetes.io/ingress-bandwidth": "1M"},
        cgroup_parent="/kubepods/pod1",
        dns=DnsConfig(("10.0.0.10",), ("svc",), ("ndots:5",)),
    )
    attachment = await network.attach(pod)
    assert attachment.ips == ("10.1.0.9",)
    await network.detach(pod, attachment.record)
    calls = cni.calls()
    assert [call[0] for call in calls] == ["ADD", "ADD", "DEL", "DEL"]
    assert {call[1] for call in calls} == {pod.netns}
    assert calls[0][2] == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod1;"
        f"K8S_POD_INFRA_CONTAINER_ID={pod.sandbox_id};K8S_POD_UID=uid-1"
    )
    assert calls[0][3] == {"type": "first", "name": "testnet", "cniVersion": "1.0.0"}
    told = calls[1][3]
    assert told["prevResult"] == RESULT
    assert told["mine"] == 1
    assert told["runtimeConfig"] == {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"}
        ],
        "dns": {"servers": ["10.0.0.10"], "searches": ["svc"], "options": ["ndots:5"]},
        "cgroupPath": "/kubepods/pod1",
        "io.kubernetes.cri.pod-annotations": dict(pod.annotations),
    }
    assert [call[3]["type"] for call in calls[2:]] == ["second", "first"]
    assert calls[2][3] == told


async def test_a_plugin_that_hangs_is_killed_and_delays_nobody(hosts: Hosts, cni: CniHost) -> None:
    hang = ON_ADD + """case "$CNI_ARGS" in *POD_NAME=pod1\\;*) sleep 1000;; esac; """
    cni.write("10.conflist", cni.fake("slow", hang + answer()))
    network = await cni.start(deadline=1)
    stuck = asyncio.ensure_future(network.attach(hosts.pod(1)))
    started = time.monotonic()
    others = await asyncio.gather(*(network.attach(hosts.pod(n)) for n in range(2, 5)))
    assert len(others) == 3
    assert not stuck.done(), time.monotonic() - started
    with pytest.raises(DeadlineExceeded, match=r"pod default/pod1: .*slow \(ADD .* within 1 s"):
        await stuck
    await until(lambda: len(cni.records.all()) == 3)


async def test_del_is_tried_until_it_works(hosts: Hosts, cni: CniHost) -> None:
    flag = cni.bin / "works"
    body = f'[ "$CNI_COMMAND" = DEL ] && [ ! -e {flag} ] && {{ echo not now >&2; exit 1; }}\n'
    cni.write("10.conflist", cni.fake("moody", body + answer()))
    network = await cni.start()
    pod = hosts.pod(1, port(80, 8080))
    await network.attach(pod)
    await network.detach(pod, {})
    assert [f.text for f in await network.findings()] == [
        "CNI DEL for pod default/pod1 has not worked yet"
    ]
    await until(lambda: len(cni.calls()) > 3)
    hosts.end(pod)
    network = await cni.start(pod.sandbox_id)
    flag.touch()
    await until(lambda: cni.records.all() == {})
    assert cni.calls()[-1][:2] == ("DEL", ""), "the namespace is gone"
    assert await network.findings() == []


async def test_a_killed_add_is_taken_back(hosts: Hosts, cni: CniHost) -> None:
    cni.write("10.conflist", cni.fake("one", ON_ADD + "sleep 1000"))
    network = await cni.start()
    pod = hosts.pod(1)
    task = asyncio.ensure_future(network.attach(pod))
    await until(lambda: len(cni.calls()) == 1)
    intent = cni.records.all()
    assert intent[pod.sandbox_id]["stage"] == "adding"
    task.cancel()
    await asyncio.wait([task])
    assert cni.records.all() == {}
    cni.records.put(pod.sandbox_id, intent[pod.sandbox_id])
    await cni.start()
    await until(lambda: cni.records.all() == {})


async def test_the_directory_is_read_again_when_it_changes(hosts: Hosts, cni: CniHost) -> None:
    network = await cni.start()
    assert "no CNI network in" in (network.ready() or "")
    with pytest.raises(FailedPrecondition, match="no CNI network"):
        await network.attach(hosts.pod(1))
    (cni.conf / "05-broken.conflist").write_text("{")
    assert "05-broken.conflist is not JSON" in (network.ready() or "")
    cni.write("10.conflist", cni.fake("one", answer()))
    assert network.ready() is None
    (found,) = await network.findings()
    assert "05-broken.conflist" in found.text
    cni.write("07.conflist", {"type": "nowhere"})
    assert "plugin nowhere is in none of" in (network.ready() or "")
    (cni.conf / "07.conflist").unlink()
    assert network.ready() is None


async def test_versions_and_status_make_it_ready(hosts: Hosts, cni: CniHost) -> None:
    flag = cni.bin / "unwell"
    body = f'[ -e {flag} ] && {{ echo \'{{"code": 50, "msg": "no addresses"}}\'; exit 1; }}\n'
    cni.write("10.conflist", cni.fake("one", body + answer(), version="1.1.0"), version="1.1.0")
    network = await cni.start()
    await network.check()
    assert network.ready() is None
    flag.touch()
    await network.check()
    assert "one (STATUS for network testnet) failed: no addresses" in (network.ready() or "")
    flag.unlink()
    await network.check()
    assert network.ready() is None
    cni.fake("one", answer(), version="1.0.0")
    await network.check()
    assert "says cniVersion 1.1.0, but plugin one knows 1.0.0" in (network.ready() or "")


async def test_gc_names_the_attachments_that_are(hosts: Hosts, cni: CniHost) -> None:
    cni.write("10.conflist", cni.fake("one", answer(), version="1.1.0"), version="1.1.0")
    network = await cni.start()
    pod = hosts.pod(1)
    await network.attach(pod)
    await cni.start(pod.sandbox_id)
    await until(lambda: len(cni.calls()) == 3 and cni.calls()[-1][0] == "GC")
    valid = cni.calls()[-1][3]["cni.dev/valid-attachments"]
    assert valid == [{"containerID": pod.sandbox_id, "ifname": "eth0"}]


async def test_a_bad_bandwidth_is_refused_before_anything(hosts: Hosts, cni: CniHost) -> None:
    cni.write("10.conflist", cni.fake("one", answer()))
    network = await cni.start()
    for rate in ("fast", "1", "2E", "-1M", ""):
        pod = hosts.pod(hash(rate) % 2**40, annotations={"kubernetes.io/egress-bandwidth": rate})
        with pytest.raises(InvalidArgument, match="egress-bandwidth"):
            await network.attach(pod)
    assert cni.calls() == []
    assert cni.records.all() == {}


async def test_json_files_hold_one_plugin(hosts: Hosts, cni: CniHost) -> None:
    single = {"cniVersion": "0.3.1", "name": "single", **cni.fake("one", answer())}
    (cni.conf / "00.conf").write_text(json.dumps(single))
    network = await cni.start()
    assert (await network.attach(hosts.pod(1))).ips == ("10.1.0.9",)
