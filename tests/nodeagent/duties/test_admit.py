"""Any pod whatsoever is admitted or held with a reason; no more is granted than there is."""

import asyncio
import shutil
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.plan.plan_reading import parse_plan
from nodeagent.duties.admit import Admitted, Held, account, admit
from nodeagent.duties.explain import explain
from nodeagent.duties.pods import Pod
from nodeagent.duties.release import release, release_absent
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.ledger import Ledger
from nodeagent.ledger.records import Environment, InitialPlan
from tests.nodeagent.agent_running import PLAN, VirtualClock

texts = st.sampled_from(
    ["", "owner", "borrower", "system", "a/owner", "prod", "1", "-1", "x" * 600]
)
labels = st.dictionaries(
    st.sampled_from(
        [
            "berth.dev/consumer",
            "kueue.x-k8s.io/queue-name",
            "quota.scheduling.koordinator.sh/name",
        ]
    ),
    texts | st.text(max_size=4),
)
annotations = st.dictionaries(
    st.sampled_from(
        [
            "berth.dev/consumer-path",
            "berth.dev/request.slots",
            "berth.dev/request.",
            "berth.dev/request.gpu",
            "berth.dev/non-preemptible",
        ]
    ),
    texts | st.text(max_size=4) | st.just("true"),
)
pods = st.builds(
    Pod,
    uid=st.sampled_from(["u1", "u2", "u3", "x" * 600]),
    namespace=st.sampled_from(["prod", "kube-system", ""]),
    name=st.text(max_size=4),
    labels=labels,
    annotations=annotations,
    requested=st.dictionaries(
        st.sampled_from(["slots", "cpu", ""]), st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9)
    ),
    system=st.booleans(),
)
steps = st.lists(
    st.tuples(st.sampled_from(["admit", "account", "release", "absent"]), pods), max_size=10
)


def initial() -> InitialPlan:
    plan = parse_plan(yaml.safe_load(PLAN), ZoneInfo)
    return InitialPlan(plan, {"default": {"slots": 10}}, "")


async def apply(ledger: Ledger, verb: str, pod: Pod) -> None:
    match verb:
        case "admit":
            answer = await admit(ledger, pod, {})
            again = await admit(ledger, pod, {})
            assert isinstance(answer, Admitted) <= isinstance(again, Admitted)
            if isinstance(answer, Held):
                assert answer.text
        case "account":
            await account(ledger, pod, {})
            await account(ledger, pod, {})
        case "release":
            await release(ledger, pod.uid)
            assert not ledger.state.exists(pod.uid)
        case _:
            await release_absent(ledger, {pod.uid})
    explain(ledger, pod.uid)


def check(ledger: Ledger) -> None:
    for pool in ledger.allocator.pools.values():
        for resource, capacity in enumerate(pool.capacity):
            system = sum(vector.get(pool.resources[resource], 0) for vector in pool.system.values())
            assert pool.used(resource)[0] <= capacity + system


@given(steps)
@settings(max_examples=40, deadline=None)
def test_any_pods_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, drawn: Sequence[tuple[str, Pod]]
) -> None:
    directory = tmp_path_factory.mktemp("any")

    async def run() -> None:
        clock = VirtualClock()
        ledger = await Ledger.open(Journal(directory), clock, Environment(ZoneInfo), initial)
        for verb, pod in drawn:
            await apply(ledger, verb, pod)
            check(ledger)
        saved = ledger.state.snapshot()
        await ledger.close()
        again = await Ledger.open(Journal(directory), clock, Environment(ZoneInfo), initial)
        assert again.state.snapshot() == saved
        await again.close()

    asyncio.run(run())
    shutil.rmtree(directory)
