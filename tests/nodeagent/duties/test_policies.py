"""Sharing policies of other packages in a whole agent: they fail, it falls back, counts, tells."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodeagent import daemon
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.policy.frame import Ask, Holding, View
from nodeagent.api.tables import status_json
from nodeagent.duties import policies
from nodeagent.duties.policies import Bounded, plugged_in
from tests.nodeagent.agent_running import PLAN, VirtualClock, agent_at, configured


class Broken:
    """Raises, hangs without ever looking at its view, or returns nonsense."""

    name = "mine"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def validate(self, group: Any) -> Sequence[str]:
        if self.fault == "never valid":
            self._hang()
        return []

    def _hang(self) -> None:
        while True:
            try:
                [].pop()
            except Exception:  # it swallows whatever it can
                pass

    def _fail(self) -> None:
        if self.fault == "hangs":
            self._hang()
        if self.fault == "raises":
            raise RuntimeError(self.fault)

    def targets(
        self, view: View, claim: Ask, short: Sequence[str]
    ) -> Mapping[str, Mapping[str, int]]:
        self._fail()
        return {claim.consumer: dict.fromkeys(short, 10**6)}

    def order_pending(self, view: View) -> Sequence[str]:
        self._fail()
        return []

    def order_victims(self, view: View, claim: Ask, holdings: Sequence[Holding]) -> Sequence[int]:
        self._fail()
        return []


class Entry:
    """An entry point."""

    name = value = "mine"

    def __init__(self, made: Any) -> None:
        self.made = made

    def load(self) -> Any:
        return lambda: self.made


def plug(monkeypatch: pytest.MonkeyPatch, policy: Any) -> None:
    monkeypatch.setattr(policies, "entry_points", lambda group: [Entry(policy)])
    monkeypatch.setattr(daemon, "plugged_in", plugged_in)


MINE = PLAN.replace("- name: default", "- name: default\n    policy: mine")


@pytest.mark.parametrize("fault", ["raises", "hangs", "outside"])
async def test_a_broken_policy_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    plug(monkeypatch, Broken(fault))
    config, clock = configured(tmp_path, MINE), VirtualClock()
    async with agent_at(config, clock) as agent:
        assert await agent.admit("b", "borrower", 10) == "admitted"
        assert (await agent.admit("o", "owner", 4)).deadline > 0
        told = [entry.document["type"] for entry in agent.ledger.history.after(0)]
        count = told.count("POLICY_FALLBACK")
        assert count >= 2
        (group,) = json.loads(status_json(await agent.status()))["groups"]
        assert group["policy_fallbacks"] == count
        before = agent.ledger.allocator.to_document()
        monkeypatch.setattr(agent.ledger, "_set_alarm", lambda: None)
    async with agent_at(config, clock) as agent:
        assert agent.ledger.allocator.to_document() == before


async def test_a_policy_that_never_validates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Broken("never valid"))
    with pytest.raises(DocumentRefused, match="took too long"):
        async with agent_at(configured(tmp_path, MINE)):
            pass


def test_what_is_no_policy_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plug(monkeypatch, object())
    assert plugged_in() == {}
    assert "is no policy" in caplog.text
    plug(monkeypatch, Broken(""))
    (policy,) = plugged_in().values()
    assert isinstance(policy, Bounded)
    assert policy.name == "mine"
