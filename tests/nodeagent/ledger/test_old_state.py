"""State directories of earlier versions open, and mean what they meant.

`tests/golden/node_state` is what an agent of commit 83daa14 left when it was killed: a snapshot,
and a segment with records after it. They hold every kind of operation that a client of that version
could ask for. `expected.json` is what the agent said of itself just before. `reason` is left out of
the events: a replay decides again and phrases it as the present version does.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.api.tables import status_json
from tests.nodeagent.agent_running import VirtualClock, agent_at, configured

OLD = Path(__file__).parents[2] / "golden" / "node_state"


def without_text(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "reason"}


async def test_the_state_of_the_version_before_opens_and_goes_on(tmp_path: Path) -> None:
    expected = json.loads((OLD / "expected.json").read_text())
    config = configured(tmp_path, (OLD / "plan.yaml").read_text(), slices={"extra": {"slots": 2}})
    shutil.copytree(OLD / "journal", config.state / "journal")
    clock = VirtualClock(expected["now"])
    for _ in range(2):  # from the old files, then from the snapshot that the first end wrote
        async with agent_at(config, clock) as agent:
            assert json.loads(status_json(await agent.status())) == expected["status"]
            found = agent.ledger.history.after(0)
            assert [without_text(entry.document) for entry in found] == expected["events"]
            assert list(agent.ledger.state.pods) == expected["pods"]
    async with agent_at(config, clock) as agent:
        assert await agent.admit("o", "owner", 3) == "admitted", "what was set aside before"
        await agent.release("q")
        group = (await agent.status()).groups[0]
        assert {it.name: it.used["slots"] for it in group.consumers} == {"owner": 3, "borrower": 2}
