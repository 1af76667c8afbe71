"""The ledger: wherever the log ends, the state rebuilt from it is what it was at that record."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.plan.plan_reading import parse_plan
from nodeagent.allocator.values.operation import (
    Block,
    Cancel,
    Modify,
    Operation,
    OperationRefused,
    Release,
    Request,
    SetCapacity,
    Tick,
    Unblock,
)
from nodeagent.ledger import ledger as ledgers
from nodeagent.ledger.journal.errors import JournalError
from nodeagent.ledger.journal.frames import frames
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.journal.segments import START_BYTES, segments, snapshots
from nodeagent.ledger.ledger import Ledger
from nodeagent.ledger.records import Environment, InitialPlan
from tests.nodeagent.agent_running import PLAN, START, VirtualClock
from tests.nodeagent.ledger.journal.journal_writing import Gate

ENVIRONMENT = Environment(ZoneInfo)
CAPACITY = {"default": {"slots": 10}}
ids = st.sampled_from([f"a{n}" for n in range(6)])
amounts = st.integers(1, 6).map(lambda n: {"slots": n})
operations = st.one_of(
    st.builds(
        Request,
        id=ids,
        consumer=st.sampled_from(["owner", "borrower", "system"]),
        vector=amounts,
        retry=st.booleans(),
        maximum=st.integers(1, 3),
    ),
    st.builds(Release, ids),
    st.builds(Release, ids, amounts, autoadjust=st.booleans()),
    st.builds(Modify, ids, vector=amounts),
    st.builds(Cancel, ids),
    st.builds(Block, st.just("u"), amounts),
    st.builds(Unblock, st.just("u")),
    st.builds(SetCapacity, st.integers(4, 12).map(lambda n: {"slots": n})),
    st.just(Tick()),
)


def initial() -> InitialPlan:
    return InitialPlan(parse_plan(yaml.safe_load(PLAN), ZoneInfo), CAPACITY, "digest")


async def opened(directory: Path, clock: VirtualClock) -> Ledger:
    return await Ledger.open(Journal(directory), clock, ENVIRONMENT, initial)


def everything(ledger: Ledger) -> Any:
    saved = ledger.state.snapshot()
    assert ledger.history.durable == ledger.history.last
    return saved


async def live(
    ledger: Ledger, clock: VirtualClock, steps: list[tuple[Operation, int]]
) -> list[Any]:
    """Apply the operations; the state after each record of the log."""
    states = [everything(ledger)]
    for number, (operation, seconds) in enumerate(steps):
        clock.moment += seconds * 1000
        try:
            await ledger.apply(operation, pod={"uid": f"p{number}", "name": "x"})
        except OperationRefused:
            continue
        states.append(everything(ledger))
    return states


@given(st.lists(st.tuples(operations, st.sampled_from([0, 0, 1, 31, 130])), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_prefix_of_the_log_rebuilds_its_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Operation, int]]
) -> None:
    directory = tmp_path_factory.mktemp("ledger")

    async def check() -> None:
        clock = VirtualClock()
        ledger = await opened(directory / "whole", clock)
        states = await live(ledger, clock, steps)
        await ledger._journal.close()
        ((_, path),) = segments(directory / "whole")
        data = path.read_bytes()
        ends = [frame.end for frame in frames(data, START_BYTES)]
        assert len(ends) == len(states)
        for end, state in zip(ends, states, strict=True):
            (directory / "cut").mkdir()
            (directory / "cut" / path.name).write_bytes(data[:end])
            again = await opened(directory / "cut", clock)
            assert everything(again) == state
            await again._journal.close()
            shutil.rmtree(directory / "cut")

    asyncio.run(check())
    shutil.rmtree(directory)


@given(st.lists(st.tuples(operations, st.sampled_from([0, 1, 31])), max_size=15))
@settings(max_examples=40, deadline=None)
def test_snapshots_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Operation, int]]
) -> None:
    directory = tmp_path_factory.mktemp("ledger")

    async def check() -> None:
        clock = VirtualClock()
        ledger = await opened(directory, clock)
        for number, step in enumerate(steps):
            await live(ledger, clock, [step])
            if number % 3 == 0:
                state = everything(ledger)
                await ledger.close()
                ledger = await opened(directory, clock)
                assert everything(ledger) == state
        await ledger.close()

    asyncio.run(check())
    shutil.rmtree(directory)


async def test_a_cancelled_caller_loses_nothing(tmp_path: Path) -> None:
    ledger = await opened(tmp_path, VirtualClock())
    asking = asyncio.ensure_future(ledger.apply(Request("a", "owner", {"slots": 1})))
    await asyncio.sleep(0)
    asking.cancel()
    await ledger.apply(Request("b", "owner", {"slots": 1}))
    assert [it.document["id"] for it in ledger.history.after(0)] == ["a", "b"]
    await ledger.close()
    assert set((await opened(tmp_path, VirtualClock())).allocator.allocations) == {"a", "b"}


async def test_what_a_cancelled_caller_asked_for_is_seen_once_it_is_durable(
    tmp_path: Path,
) -> None:
    ledger = await opened(tmp_path, VirtualClock())
    gate = Gate(ledger._journal)
    asking = asyncio.ensure_future(ledger.apply(Request("a", "owner", {"slots": 1})))
    await gate.reached()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ledger.history.after(0) == [], "it may still be lost"
    watching = ledger.history.watch(0)
    gate.open()
    assert (await anext(watching)).document["id"] == "a"
    await ledger.close()


async def test_alarms_that_come_early_are_set_again(tmp_path: Path) -> None:
    """As those of the wall clock do, an hour at most after they were set."""

    class Early(VirtualClock):
        def call_at(self, moment: int, callback: Callable[[], None]) -> Any:
            return super().call_at(min(moment, self.moment + 10_000), callback)

    clock = Early()
    ledger = await opened(tmp_path, clock)
    timers = asyncio.ensure_future(ledger.run_timers())
    await ledger.apply(Request("b", "borrower", {"slots": 10}))
    await ledger.apply(Request("o", "owner", {"slots": 4}))
    watching = ledger.history.watch(ledger.history.durable)
    forced = asyncio.ensure_future(anext(watching))
    for _ in range(3):
        assert not forced.done()
        clock.advance(10)
        for _ in range(5):  # the timers' task runs, and waits again
            await asyncio.sleep(0)
    assert (await forced).document["type"] == "FORCED"
    timers.cancel()
    await ledger.close()


async def test_a_journal_that_fails_ends_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await opened(tmp_path, VirtualClock())

    def full(records: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger._journal._writer, "write", full)
    heard: list[Any] = []
    ledger.listeners.append(heard.append)
    for _ in range(2):
        with pytest.raises(JournalError, match="No space left"):
            await ledger.apply(Request("a", "owner", {"slots": 1}))
    assert ledger.failed.done()
    assert (heard, ledger.history.after(0)) == ([], [])
    await ledger.close()
    monkeypatch.undo()
    again = await opened(tmp_path, VirtualClock())
    assert not again.allocator.allocations
    await again.close()


async def test_time_never_runs_backwards(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = await opened(tmp_path, clock)
    clock.moment = START - 10_000
    decided = await ledger.apply(Request("a", "owner", {"slots": 1}))
    assert decided.decision.now == START
    await ledger.close()


async def test_pods_that_ended_are_forgotten_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeagent.ledger.records.PODS_KEPT", 3)
    monkeypatch.setattr(ledgers, "SNAPSHOT_EVERY", 10)
    ledger = await opened(tmp_path, VirtualClock())
    await ledger.apply(Request("held", "owner", {"slots": 1}), pod={"uid": "held"})
    for number in range(30):
        uid = f"p{number}"
        await ledger.apply(Request(uid, "owner", {"slots": 1}), pod={"uid": uid})
        await ledger.apply(Release(uid))
    await ledger.close()
    assert list(ledger.state.pods) == ["held", "p27", "p28", "p29"]


async def asked(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        uid = f"a{ledger.allocator.seq}"
        await ledger.apply(Request(uid, "owner", {"slots": 1}), pod={"uid": uid})


async def killed(ledger: Ledger) -> None:
    """End without the snapshot of an orderly end."""
    await ledger._journal.close()


async def test_the_state_is_written_anew_after_so_many_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "SNAPSHOT_EVERY", 10)
    ledger = await opened(tmp_path, VirtualClock())
    await asked(ledger, 9)
    assert snapshots(tmp_path) == []
    await asked(ledger, 16)
    before = everything(ledger)
    await killed(ledger)
    # One record begins the journal, the others are operations.
    assert [number for number, _ in snapshots(tmp_path)] == [11, 21]
    assert [number for number, _ in segments(tmp_path)] == [12, 22]
    journal = Journal(tmp_path)
    assert (journal.recovered.snapshot, len(journal.recovered.records)) == (21, 5)
    ledger = await Ledger.open(journal, VirtualClock(), ENVIRONMENT, initial)
    assert everything(ledger) == before
    await ledger.close()


async def test_an_agent_that_is_killed_again_and_again_writes_its_state_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "SNAPSHOT_EVERY", 10)
    for _ in range(4):
        ledger = await opened(tmp_path, VirtualClock())
        await asked(ledger, 4)
        await killed(ledger)
    assert [number for number, _ in snapshots(tmp_path)] == [10]


async def test_what_was_recovered_is_not_kept_twice(tmp_path: Path) -> None:
    ledger = await opened(tmp_path, VirtualClock())
    await asked(ledger, 3)
    await killed(ledger)
    ledger = await opened(tmp_path, VirtualClock())
    assert (ledger._journal.recovered.records, ledger._journal.recovered.last) == ((), 4)
    await asked(ledger, 1)
    await killed(ledger)
    assert Journal(tmp_path).recovered.last == 5


async def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await journal.append({"version": 99})
    await journal.close()
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="of version 99, this agent reads 1"):
        await Ledger.open(journal, VirtualClock(), ENVIRONMENT, initial)
    await journal.close()
