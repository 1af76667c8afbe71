"""Any pod whatsoever is admitted or held with a reason; the books stay as they must."""

import asyncio
import shutil
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from agent_running import PLAN, VirtualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.plan_reading import parse_plan
from nodeagent.duties.admit import Admitted, Held, account, admit
from nodeagent.duties.explain import explain
from nodeagent.duties.keeper import Keeper
from nodeagent.duties.pods import Pod
from nodeagent.duties.records import Frame
from nodeagent.duties.release import release, release_absent
from nodeagent.journal.journal import Journal

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


def first() -> Any:
    return parse_plan(yaml.safe_load(PLAN), ZoneInfo), {"default": {"slots": 10}}, ""


async def perform(keeper: Keeper, verb: str, pod: Pod) -> None:
    match verb:
        case "admit":
            answer = await admit(keeper, pod, {})
            again = await admit(keeper, pod, {})
            assert isinstance(answer, Admitted) <= isinstance(again, Admitted)
            if isinstance(answer, Held):
                assert answer.text
        case "account":
            await account(keeper, pod, {})
            await account(keeper, pod, {})
        case "release":
            await release(keeper, pod.uid)
            assert not keeper.books.holds(pod.uid)
        case _:
            await release_absent(keeper, {pod.uid})
    explain(keeper, pod.uid)


def check(keeper: Keeper) -> None:
    for pool in keeper.ledger.pools.values():
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
        keeper = await Keeper.open(Journal(directory), clock, Frame(ZoneInfo), first)
        for verb, pod in drawn:
            await perform(keeper, verb, pod)
            check(keeper)
        saved = keeper.books.snapshot()
        await keeper.close()
        again = await Keeper.open(Journal(directory), clock, Frame(ZoneInfo), first)
        assert again.books.snapshot() == saved
        await again.close()

    asyncio.run(run())
    shutil.rmtree(directory)
