"""Grace and negotiation: notices, deadlines, offers, cancellation, earmarks and modification."""

from typing import Any

import pytest

from nodeagent.allocator.status import consumers, explain, loan_rows
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import (
    Block,
    Cancel,
    Modify,
    Offer,
    OperationRefused,
    Release,
    Request,
    SetCapacity,
    Stopping,
    Tick,
    Unblock,
)
from tests.nodeagent.allocator.invariants import check_all
from tests.nodeagent.allocator.plans import Bench

TWO: list[dict[str, Any]] = [
    {"name": "owner", "own": {"slots": 6}},
    {"name": "guest", "own": {"slots": 4}, "grace": "30s"},
]


def lent(**more: Any) -> Bench:
    """Ten slots, all with the guest: four of its own and six borrowed, two slots each."""
    rows = [dict(row) for row in TWO]
    rows[0] |= more.pop("owner", {})
    rows[1] |= more.pop("guest", {})
    bench = Bench(rows, {"slots": 10}, **more)
    for number in range(5):
        assert bench.ask(f"g{number}", "guest", 2) == "GRANTED"
    return bench


def notice(bench: Bench) -> dict[str, Any]:
    (event,) = bench.events(EventType.RECLAIM_NOTICE)
    return dict(event.fields)


def test_an_owner_gives_notice_and_waits_the_grace() -> None:
    bench = lent()
    assert bench.ask("o", "owner", 3) == "RECLAIMING"
    told = notice(bench)
    assert told["deadline"] == 30_000
    assert told["required"] == {"slots": 3}
    assert [row["id"] for row in told["strict"]] == ["g4", "g3"]
    assert [row["id"] for row in told["candidates"]] == ["g0", "g1", "g2", "g3", "g4"]
    assert (bench.state("g4"), bench.state("o")) == ("NOTICED", "RECLAIMING")
    assert bench.allocator.next_due() == 30_000
    bench.do(Tick(), at=29)
    assert not bench.events(EventType.FORCED)
    bench.do(Tick(), at=30)
    assert [row["id"] for row in bench.events(EventType.FORCED)[0].fields["strict"]] == ["g4", "g3"]
    assert bench.state("g4") == "STOPPING"
    assert bench.held() == {"guest": 10}
    bench.do(Release("g4"))
    assert bench.state("o") == "RECLAIMING"
    bench.do(Release("g3"))
    assert bench.state("o") == "GRANTED"
    check_all(bench.allocator)


def test_a_late_reclaim_is_reported_once() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    bench.do(Tick(), at=30)
    assert bench.allocator.next_due() == 35_000
    bench.do(Tick(), at=40)
    assert bench.events(EventType.RECLAIM_LATE)[0].at == 35_000
    assert bench.allocator.next_due() is None
    assert not bench.do(Tick(), at=60).events


def test_decisions_do_not_depend_on_how_often_time_is_looked_at() -> None:
    often, rarely = lent(), lent()
    for bench in (often, rarely):
        bench.ask("o", "owner", 2)
    seen = [event for second in range(1, 60) for event in often.do(Tick(), at=second).events]
    assert list(rarely.do(Tick(), at=60).events) == seen


def test_an_offer_takes_the_place_of_the_strict_set() -> None:
    bench = lent()
    bench.ask("o", "owner", 3)
    told = notice(bench)
    bench.do(Offer(told["notice"], (("g0", None), ("g1", None))))
    assert bench.events(EventType.OFFER_ACCEPTED)
    assert [bench.state(key) for key in ("g0", "g1", "g3", "g4")] == [
        "NOTICED",
        "NOTICED",
        "GRANTED",
        "GRANTED",
    ]
    bench.do(Release("g0"))
    bench.do(Release("g1"))
    assert bench.held() == {"guest": 6, "owner": 3}
    check_all(bench.allocator)


def test_an_offer_may_shrink_allocations() -> None:
    bench = lent()
    bench.ask("o", "owner", 3)
    entries = tuple((f"g{number}", {"slots": 1}) for number in range(3))
    bench.do(Offer(notice(bench)["notice"], entries))
    assert bench.events(EventType.OFFER_ACCEPTED)
    for key, part in entries:
        bench.do(Release(key, part))
    assert bench.held() == {"guest": 7, "owner": 3}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ((("g0", None),), "does not cover what is required"),
        ((("o", None),), "o belongs to owner"),
        ((("nobody", None),), "nobody is no allocation"),
        ((("g0", {"slots": 5}),), "g0 does not hold so much"),
        ((), "does not cover what is required"),
    ],
)
def test_a_bad_offer_changes_nothing(entries: tuple[Any, ...], reason: str) -> None:
    bench = lent()
    bench.ask("o", "owner", 3)
    told = notice(bench)["notice"]
    before = bench.allocator.to_document()
    verdict = bench.do(Offer(told, entries)).verdict
    assert (verdict.answer.value, verdict.reason) == ("REFUSED", reason)
    assert bench.allocator.to_document() == {**before, "seq": bench.seq}


def test_an_offer_after_the_deadline_is_too_late() -> None:
    bench = lent()
    bench.ask("o", "owner", 3)
    told = notice(bench)["notice"]
    verdict = bench.do(Offer(told, (("g0", None), ("g1", None))), at=30).verdict
    assert verdict.reason == "the deadline has passed"


def test_a_withdrawn_claim_spares_its_victims() -> None:
    bench = lent()
    bench.ask("o", "owner", 3)
    bench.do(Cancel("o"))
    (event,) = bench.events(EventType.RECLAIM_CANCELLED)
    assert event.fields["ids"] == ["g3", "g4"]
    assert bench.state("g4") == "GRANTED"
    assert bench.state("o") == ""
    assert bench.allocator.next_due() is None


def test_units_that_turn_up_elsewhere_spare_the_victims() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    bench.do(Release("g0"))
    assert bench.events(EventType.RECLAIM_CANCELLED)
    assert (bench.state("g4"), bench.state("o")) == ("GRANTED", "GRANTED")


def test_what_is_being_stopped_is_not_cancelled() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    bench.do(Stopping("g4"))
    bench.do(Cancel("o"))
    assert not bench.events(EventType.RECLAIM_CANCELLED)
    assert bench.state("g4") == "STOPPING"
    assert bench.ask("o2", "owner", 2) == "RECLAIMING"
    assert not bench.events(EventType.RECLAIM_NOTICE)
    bench.do(Release("g4"))
    assert bench.state("o2") == "GRANTED"
    check_all(bench.allocator)


def test_nobody_borrows_what_is_set_aside() -> None:
    bench = lent()
    bench.ask("o", "owner", 4)
    bench.do(Release("g4"))
    assert bench.ask("late", "guest", 1) == "PENDING"
    bench.do(Release("g3"))
    assert bench.held() == {"guest": 6, "owner": 4}
    assert bench.state("late") == "PENDING"


def test_the_claimants_lendout_grace_shortens_the_grace() -> None:
    bench = lent(owner={"lendoutGrace": "60s"}, guest={"grace": "30s"})
    bench.ask("o", "owner", 2)
    assert notice(bench)["deadline"] == 30_000
    rows = [
        {"name": "owner", "own": {"slots": 6}, "lendoutGrace": "10s"},
        {"name": "guest", "own": {"slots": 4}, "grace": "30s"},
        {"name": "pool"},
    ]
    strict = Bench(rows, {"slots": 10})
    answers = [strict.ask(f"g{number}", "guest", 1) for number in range(10)]
    assert answers == ["GRANTED"] * 4 + ["PENDING"] * 6


def test_promised_runtime_delays_the_deadline() -> None:
    bench = lent(guest={"grace": "0s", "borrowMinRuntime": "100s"})
    bench.do(Tick(), at=40)
    bench.ask("o", "owner", 2)
    assert notice(bench)["deadline"] == 100_000


def test_a_squeezed_allocation_regrows() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    bench.do(Release("g4", {"slots": 1}, autoadjust=False))
    assert bench.state("g4") == "NOTICED"
    bench.do(Release("g3", {"slots": 1}, autoadjust=False))
    assert (bench.state("o"), bench.state("g3")) == ("GRANTED", "SQUEEZED")
    bench.do(Release("o"))
    assert (bench.state("g3"), bench.state("g4")) == ("GRANTED", "GRANTED")
    assert bench.held() == {"guest": 10}


def test_an_elastic_request_grows_and_gives_back_by_units() -> None:
    bench = Bench(TWO, {"slots": 10})
    assert bench.ask("g", "guest", 1, minimum=2, maximum=20) == "PARTIAL"
    assert bench.held() == {"guest": 10}
    bench.ask("o", "owner", 3)
    assert notice(bench)["strict"] == [{"id": "g", "vector": {"slots": 3}}]
    bench.do(Release("g", {"slots": 3}, autoadjust=False))
    assert bench.held() == {"guest": 7, "owner": 3}
    bench.do(Release("o"))
    assert bench.held() == {"guest": 10}
    assert bench.ask("o2", "owner", 1, minimum=1, maximum=9) == "RECLAIMING"
    assert notice(bench)["required"] == {"slots": 6}


def test_a_client_that_comes_back_finds_its_grant() -> None:
    bench = lent(guest={"grace": "0s"})
    assert bench.ask("o", "owner", 2, retry=True) == "RECLAIMING"
    bench.obey()
    assert bench.state("o") == "EARMARKED"
    assert bench.allocator.next_due() == 60_000
    assert bench.ask("o", "owner", 2, retry=True) == "GRANTED"
    assert bench.allocator.next_due() is None
    assert bench.ask("o", "owner", 2, retry=True) == "GRANTED"
    assert not bench.decision or not bench.decision.events


def test_a_client_that_does_not_come_back_loses_it() -> None:
    bench = lent(guest={"grace": "0s"})
    bench.ask("o", "owner", 2, retry=True)
    bench.obey()
    assert bench.held() == {"guest": 8, "owner": 2}
    bench.do(Tick(), at=60)
    assert bench.events(EventType.EXPIRED)
    assert bench.held() == {"guest": 10}


def test_a_client_that_asks_no_more_is_forgotten() -> None:
    bench = lent()
    bench.ask("o", "owner", 2, retry=True)
    bench.do(Request("o", "owner", {"slots": 2}, retry=True), at=20)
    bench.do(Tick(), at=139)
    assert bench.state("o") == "RECLAIMING"
    bench.do(Tick(), at=140)
    assert bench.state("o") == ""


def test_modify_shrinks_at_once_and_grows_by_admission() -> None:
    bench = Bench(TWO, {"slots": 10})
    bench.ask("g", "guest", 4)
    bench.do(Modify("g", vector={"slots": 2}))
    assert bench.held() == {"guest": 2}
    bench.do(Modify("g", delta={"slots": 6}))
    assert bench.held() == {"guest": 8}
    bench.ask("o", "owner", 2)
    assert bench.do(Modify("o", vector={"slots": 4})).verdict.answer.value == "RECLAIMING"
    assert bench.do(Modify("o", vector={"slots": 99})).verdict.answer.value == "REFUSED"
    assert bench.held() == {"guest": 8, "owner": 2}
    check_all(bench.allocator)


def test_a_blocked_unit_is_out_of_use_until_it_is_back() -> None:
    bench = Bench(TWO, {"slots": 10})
    for number in range(5):
        bench.ask(f"g{number}", "guest", 2)
    bench.do(Release("g0", block="slot-7"))
    assert bench.ask("o", "owner", 2) == "RECLAIMING"
    bench.do(Unblock("slot-7"))
    assert bench.state("o") == "GRANTED"
    bench.do(Block("slot-1", {"slots": 10}))
    assert bench.ask("x", "guest", 1) == "REFUSED"
    check_all(bench.allocator)


def test_system_pods_enter_and_lessen_the_capacity() -> None:
    bench = lent(guest={"grace": "0s"})
    assert bench.ask("kube-proxy", "system", 3) == "GRANTED"
    bench.obey()
    assert bench.held() == {"guest": 6}
    bench.do(Release("kube-proxy"))
    assert bench.held() == {"guest": 10}


@pytest.mark.parametrize("again", [3, 5])
def test_a_system_pod_asked_again_takes_nothing_more(again: int) -> None:
    bench = lent()
    assert bench.ask("kube-proxy", "system", 3) == "GRANTED"
    assert bench.events(EventType.RECLAIM_NOTICE)
    before = bench.allocator.to_document()
    assert bench.ask("kube-proxy", "system", again) == "GRANTED"
    assert bench.decision is not None
    assert bench.decision.events == ()
    assert bench.allocator.to_document() == {**before, "seq": bench.seq}


def test_what_is_being_stopped_is_not_granted_to_a_client_that_comes_back() -> None:
    bench = lent()
    assert bench.ask("late", "guest", 2, retry=True) == "PENDING"
    bench.do(Release("g0"))
    assert bench.state("late") == "EARMARKED"
    bench.ask("o", "owner", 1)
    bench.do(Tick(), at=30)
    assert bench.state("late") == "STOPPING"
    assert bench.ask("late", "guest", 2, retry=True) == "PENDING"
    assert not bench.events(EventType.GRANTED)


def test_a_victim_waits_behind_those_that_waited_before_it() -> None:
    bench = lent(guest={"grace": "0s"})
    bench.ask("w", "guest", 2)
    bench.ask("o", "owner", 1)
    victim = bench.events(EventType.FORCED)[0].fields["strict"][0]["id"]
    bench.obey()
    bench.do(Release("o"))
    assert (bench.state("w"), bench.state(victim)) == ("GRANTED", "PENDING")


def test_a_late_reclaim_is_not_reported_again_when_something_else_falls_due() -> None:
    bench = lent()
    bench.ask("o", "owner", 1)
    bench.ask("w", "guest", 1, retry=True)
    bench.do(Tick(), at=40)
    assert len(bench.events(EventType.RECLAIM_LATE)) == 1
    bench.do(Tick(), at=200)
    assert bench.events(EventType.EXPIRED)
    assert not bench.events(EventType.RECLAIM_LATE)


def test_a_loss_of_capacity_is_repaired_by_reclaim_only() -> None:
    bench = lent()
    bench.do(SetCapacity({"slots": 7}))
    assert notice(bench)["deadline"] == 30_000
    assert bench.held() == {"guest": 10}
    check_all(bench.allocator)
    bench.do(SetCapacity({"slots": 10}))
    assert bench.events(EventType.RECLAIM_CANCELLED)


def test_a_non_preemptible_allocation_is_in_plan_and_never_a_victim() -> None:
    bench = Bench(TWO, {"slots": 10})
    assert bench.ask("f", "guest", 4, firm=True) == "GRANTED"
    assert bench.ask("f2", "guest", 1, firm=True) == "PENDING"
    assert bench.ask("f3", "guest", 5, firm=True) == "REFUSED"
    for number in range(6):
        bench.ask(f"g{number}", "guest", 1)
    bench.ask("o", "owner", 6)
    assert {row["id"] for row in notice(bench)["strict"]} == {f"g{number}" for number in range(6)}


def test_reclaim_first_takes_back_before_using_what_is_free() -> None:
    bench = lent(order="reclaimFirst")
    bench.do(Release("g0"))
    assert bench.ask("o", "owner", 2) == "RECLAIMING"
    assert [row["id"] for row in notice(bench)["strict"]] == ["g4"]


def test_unknown_names_are_refused_and_change_nothing() -> None:
    bench = lent()
    before = bench.allocator.to_document()
    for operation in (
        Release("x"),
        Modify("x"),
        Cancel("x"),
        Stopping("x"),
        Offer("n", ()),
        SetCapacity({}, "x"),
        Request("r", "guest", {}, group="x"),
    ):
        with pytest.raises(OperationRefused):
            bench.do(operation)
    with pytest.raises(OperationRefused, match="given before"):
        bench.allocator.apply(Tick(), 0, 1)
    assert bench.allocator.to_document() == before


@pytest.mark.parametrize(
    ("consumer", "vector", "namespace", "reason"),
    [
        ("nobody", {"slots": 1}, "", "no leaf consumer nobody"),
        ("guest", {"slots": 11}, "", "more than the group has"),
        ("guest", {"gold": 1}, "", "gold: more than the group has"),
        ("guest", {"slots": 1}, "other", "admits no pods of namespace 'other'"),
    ],
)
def test_what_can_never_be_is_refused(
    consumer: str, vector: dict[str, int], namespace: str, reason: str
) -> None:
    rows = [dict(TWO[0]), {**TWO[1], "namespaces": ["ml-*"]}]
    bench = Bench(rows, {"slots": 10})
    verdict = bench.do(Request("r", consumer, vector, namespace=namespace)).verdict
    assert verdict.answer.value == "REFUSED"
    assert reason in verdict.reason
    assert bench.ask("g", "guest", 1, namespace="ml-1") == "GRANTED"


def test_tables_show_who_lends_to_whom() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    (row,) = loan_rows(bench.allocator)
    assert (row["borrower"], row["lender"], row["amount"]) == ("guest", "owner", 6)
    by_name = {row["consumer"]: row for row in consumers(bench.allocator)}
    assert by_name["guest"]["borrowed"] == {"slots": 6}
    assert by_name["guest"]["reclaiming"] == {"slots": 2}
    assert by_name["owner"]["lent"] == {"slots": 6}
    assert by_name["owner"]["deadline"] == 30_000
    told = explain(bench.allocator, "g4")
    assert told is not None
    assert told["notices"][0]["for"] == "o"
    assert explain(bench.allocator, "nobody") is None


def test_a_claim_says_what_it_lacks() -> None:
    """Victims may give back more than is asked; what is set aside or free is not lacking."""
    bench = lent()
    bench.do(Release("g0"))
    assert bench.ask("g5", "guest", 1) == "GRANTED"
    bench.ask("o", "owner", 4)
    assert bench.decision is not None
    assert bench.decision.verdict.shortage == {"slots": 3}
    assert sum(row["vector"]["slots"] for row in notice(bench)["strict"]) == 3
    bench.do(Release("g5"))
    again = bench.do(Request("o", "owner", {"slots": 4})).verdict
    assert (again.answer.value, again.shortage) == ("RECLAIMING", {"slots": 2})


def test_what_is_being_stopped_is_granted_no_more() -> None:
    bench = lent()
    bench.ask("o", "owner", 2)
    assert bench.ask("g4", "guest", 2) == "GRANTED"
    bench.do(Tick(), at=30)
    verdict = bench.do(Request("g4", "guest", {"slots": 2})).verdict
    assert (verdict.answer.value, verdict.shortage) == ("PENDING", {"slots": 2})
    assert "is being stopped" in verdict.reason
    assert bench.held() == {"guest": 10}
