"""Numbered events: cursors, watching, and what a snapshot keeps."""

import asyncio

import pytest

from nodeagent.ledger.history import KEPT, SAVED, CursorLost, Entry, History


def happen(history: History, *documents: dict[str, int]) -> None:
    history.mark_durable(history.add(documents)[-1].cursor)


async def test_after_a_cursor() -> None:
    history = History(7, [{"n": 6}, {"n": 7}])
    happen(history, {"n": 8})
    assert [it.cursor for it in history.after(0)] == [6, 7, 8]
    assert history.after(7) == [Entry(8, {"n": 8})]
    assert history.after(8) == []
    assert [it.document["n"] for it in history.after(5)] == [6, 7, 8]
    with pytest.raises(CursorLost, match="oldest kept is 6"):
        history.after(4)
    with pytest.raises(CursorLost, match="last event is 8"):
        history.after(9)


async def test_watching_goes_on() -> None:
    history = History()
    seen: list[int] = []

    async def watch() -> None:
        async for entry in history.watch(0):
            seen.append(entry.cursor)
            if entry.cursor == 5:
                return

    watching = asyncio.ensure_future(watch())
    for number in range(5):
        happen(history, {"n": number})
        await asyncio.sleep(0)
    await watching
    assert seen == [1, 2, 3, 4, 5]


async def test_bounded_and_saved() -> None:
    history = History()
    happen(history, *({"n": n} for n in range(KEPT + 5)))
    assert len(history.after(0)) == KEPT
    saved = history.saved()
    again = History(saved["last"], saved["events"])
    assert again.last == history.last == KEPT + 5
    assert again.after(0) == history.after(history.last - SAVED)


async def test_events_are_seen_once_they_are_durable() -> None:
    history = History()
    happen(history, {"n": 1})
    added = history.add([{"n": 2}, {"n": 3}])
    assert [it.cursor for it in history.after(0)] == [1]
    assert history.saved()["last"] == 3
    history.mark_durable(added[0].cursor)
    assert [it.cursor for it in history.after(1)] == [2]
    history.mark_durable(added[1].cursor)
    assert [it.cursor for it in history.after(1)] == [2, 3]
