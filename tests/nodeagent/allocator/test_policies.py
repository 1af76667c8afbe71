"""Sharing policies: the built-in ones, and plug-ins that are good, bad, slow or broken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan import Group
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.policy.frame import Ask, Holding, SharingPolicy, View
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import ApplyPlan, Release, Request
from tests.nodeagent.allocator.invariants import check_all
from tests.nodeagent.allocator.plans import Bench, document

ROWS: list[dict[str, Any]] = [
    {"name": "owner", "own": {"slots": 6}, "rank": 1},
    {"name": "low", "share": 1, "rank": 3},
    {"name": "high", "share": 1, "rank": 2},
]


@dataclass
class Clock:
    """Virtual milliseconds."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


@dataclass
class Plugin:
    """The surplus goes in tree order, victims by their ids; faults are switched on."""

    name: str = "mine"
    fault: str = ""
    clock: Clock = field(default_factory=Clock)
    calls: list[str] = field(default_factory=list)

    def _enter(self, call: str, view: View) -> None:
        self.calls.append(call)
        if self.fault == "raise":
            raise RuntimeError("broken")
        if self.fault == "late":
            self.clock.now += 51
        while self.fault == "hang":
            self.clock.now += 1
            view.check()

    def validate(self, group: Group) -> Sequence[str]:
        return ["it knows no windows"] if len(group.windows) > 1 else []

    def targets(
        self, view: View, claim: Ask, short: Sequence[str]
    ) -> Mapping[str, Mapping[str, int]]:
        self._enter("targets", view)
        found: dict[str, dict[str, int]] = {}
        leaves = {name: node for name, node in view.nodes.items() if node.leaf}
        for key in short:
            left = view.capacity[key]
            for plan_first in (True, False):
                for name, node in leaves.items():
                    more = claim.vector.get(key, 0) if name == claim.consumer else 0
                    row = found.setdefault(name, {})
                    most = min(node.used[key] + more, node.deserved[key] if plan_first else 1 << 60)
                    extra = min(left, most - row.get(key, 0))
                    row[key] = row.get(key, 0) + extra
                    left -= extra
        if self.fault == "greedy":
            found[claim.consumer] = dict.fromkeys(short, 99)
        if self.fault == "unfair":
            found[claim.consumer] = dict.fromkeys(short, 0)
        if self.fault == "text":
            found[claim.consumer] = dict.fromkeys(short, "many")  # type: ignore[assignment] # on purpose
        return found

    def order_pending(self, view: View) -> Sequence[str]:
        self._enter("order_pending", view)
        order = [ask.id for ask in sorted(view.pending, key=lambda ask: ask.id)]
        return order[:-1] if self.fault == "forgetful" else order

    def order_victims(self, view: View, claim: Ask, holdings: Sequence[Holding]) -> Sequence[int]:
        self._enter("order_victims", view)
        order = [row.key for row in sorted(holdings, key=lambda row: row.id)]
        return order + order[:1] if self.fault == "forgetful" else order


def bench(plugin: Plugin) -> Bench:
    found = Bench(
        ROWS,
        {"slots": 10},
        allocator={"policies": {"mine": plugin}, "clock": plugin.clock},
        policy="mine",
    )
    for number in range(5):
        assert found.ask(f"l{number}", "low") == "GRANTED"
        assert found.ask(f"h{number}", "high") == "GRANTED"
    return found


def test_a_plugin_is_the_protocol_and_decides() -> None:
    plugin = Plugin()
    assert isinstance(plugin, SharingPolicy)
    found = bench(plugin)
    assert found.ask("o", "owner", 2) == "RECLAIMING"
    (event,) = found.events(EventType.FORCED)
    assert [row["id"] for row in event.fields["strict"]] == ["h0", "h1"]
    assert plugin.calls == ["targets", "order_victims"]
    assert not found.events(EventType.POLICY_FALLBACK)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "raised RuntimeError"),
        ("late", "took longer than 50 ms"),
        ("hang", "took longer than 50 ms"),
        ("greedy", "I1"),
        ("unfair", "I4"),
        ("text", "I1"),
        ("forgetful", "does not name everything once"),
    ],
)
def test_a_failing_plugin_falls_back_to_hybrid(fault: str, reason: str) -> None:
    plugin = Plugin()
    found = bench(plugin)
    plugin.fault = fault
    assert found.ask("o", "owner", 2) == "RECLAIMING"
    told = found.events(EventType.POLICY_FALLBACK)
    assert told
    assert reason in told[0].fields["reason"]
    assert told[0].fields["policy"] == "mine"
    found.obey()
    assert found.held()["owner"] == 2
    found.ask("w1", "low")
    found.ask("w2", "high")
    found.do(Release("o"))
    assert sum(found.held().values()) == 10
    check_all(found.allocator)


def test_a_replay_takes_the_recorded_fallbacks() -> None:
    """Whether a plug-in was slow once is in the log, not in the machine that replays it."""
    slow, fast = Plugin(), Plugin()
    first, second = bench(slow), bench(fast)
    slow.fault = "late"
    decision = first.do(Request("o", "owner", {"slots": 2}))
    assert decision.fallbacks == (0, 1)
    again = second.allocator.apply(
        Request("o", "owner", {"slots": 2}), 0, second.seq + 1, fallbacks=decision.fallbacks
    )
    assert fast.calls == []
    kinds = EventType.POLICY_FALLBACK
    assert [event for event in again.events if event.type is not kinds] == [
        event for event in decision.events if event.type is not kinds
    ]
    assert first.allocator.to_document() == second.allocator.to_document()


def test_plans_name_policies_that_exist_and_can() -> None:
    found = bench(Plugin())
    for policy, text in (("nobody's", "is not installed"), ("mine", "it knows no windows")):
        plan = document(ROWS, policy=policy)
        group = plan["spec"]["groups"][0]
        consumers = group["windows"][0]["consumers"]
        group["windows"] = [
            {"when": {"to": "12:00"}, "consumers": consumers},
            {"when": {"from": "12:00"}, "consumers": consumers},
        ]
        with pytest.raises(DocumentRefused, match=text) as caught:
            found.do(ApplyPlan(plan))
        assert caught.value.problems[0].path == "spec.groups[0].policy"
    assert found.allocator.plan.groups[0].policy == "mine"


def _fought(policy: str, rows: list[dict[str, Any]] | None = None, **group: Any) -> dict[str, int]:
    """The owner takes three of ten slots that low and high hold five each."""
    found = Bench(rows or ROWS, {"slots": 10}, policy=policy, **group)
    for number in range(5):
        found.ask(f"l{number}", "low")
        found.ask(f"h{number}", "high")
    found.ask("o", "owner", 3)
    found.obey()
    assert found.held()["owner"] == 3
    check_all(found.allocator)
    return found.held()


def test_hybrid_cuts_alike_and_ranked_policies_cut_the_lowest_rank() -> None:
    assert _fought("hybrid") == {"owner": 3, "low": 4, "high": 3}
    assert _fought("tiers") == {"owner": 3, "low": 2, "high": 5}
    assert _fought("fifo") == {"owner": 3, "low": 4, "high": 3}


def test_ownership_lends_only_where_it_is_enabled() -> None:
    closed = Bench(ROWS, {"slots": 10}, mode="ownership")
    assert [closed.ask(f"l{number}", "low") for number in range(5)] == ["GRANTED"] * 4 + ["PENDING"]
    opened = [{**row, "lendTo": "any", "borrowFrom": "any"} for row in ROWS]
    assert _fought("", opened, mode="ownership") == {"owner": 3, "low": 2, "high": 5}


def test_share_mode_knows_no_ownership() -> None:
    found = Bench(ROWS, {"slots": 9}, mode="share")
    for name in ("owner", "low", "high"):
        found.ask_units(name, name, 9)
    assert found.held() == {"owner": 3, "low": 3, "high": 3}


def test_the_queue_by_policy() -> None:
    rows = [{"name": "x"}, {"name": "y", "share": 3}]
    for policy, expected in (
        ("fifo", ["x0", "x1", "y0", "y1"]),
        ("hybrid", ["x0", "y0", "y1", "x1"]),
        ("drf", ["x0", "y0", "y1", "x1"]),
    ):
        found = Bench([{"name": "boss", "own": {"slots": 4}}, *rows], {"slots": 4}, policy=policy)
        found.ask("all", "boss", 4)
        for name in ("x", "y"):
            for number in range(2):
                assert found.ask(f"{name}{number}", name) == "PENDING"
        found.do(Release("all"))
        assert [event.fields["id"] for event in found.events(EventType.GRANTED)] == expected


def test_a_ledger_without_the_plugin_falls_back() -> None:
    found = bench(Plugin())
    document_now = found.allocator.to_document()
    bare = Allocator.from_document(document_now, zones=ZoneInfo)
    verdict = bare.apply(Request("o", "owner", {"slots": 2}), 0, found.seq + 1).verdict
    assert verdict.answer.value == "RECLAIMING"
