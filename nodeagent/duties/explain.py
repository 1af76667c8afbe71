"""Why a pod or an allocation holds, waits, or was reclaimed: lines for people."""

from collections.abc import Mapping
from typing import Any

from berth.base.quantity import Vector, render_vector
from berth.base.timestamps import render_time
from nodeagent.allocator import status
from nodeagent.allocator.requests import SYSTEM
from nodeagent.ledger.ledger import Ledger

EVENTS_SHOWN = 20
_HIDDEN = ("type", "at", "id", "candidates")


def explain(ledger: Ledger, name: str) -> list[str] | None:
    """The state of a pod (by uid or namespace/name) or an allocation, then its events, newest
    first; None if nobody of that name is known.
    """
    identity = _identity(ledger, name)
    events = _events(ledger, identity)
    if not ledger.durable.holds(identity) and not events:
        return None
    pod = ledger.durable.pods.get(identity)
    title = f"pod {pod['namespace']}/{pod['name']} ({identity})" if pod else f"{identity}"
    return [title, *_state(ledger, identity, pod), *events]


def _identity(ledger: Ledger, name: str) -> str:
    """The id of an allocation; a later pod of the same name hides earlier ones."""
    named = [
        uid
        for uid, pod in ledger.durable.pods.items()
        if f"{pod['namespace']}/{pod['name']}" == name
    ]
    holding = [uid for uid in named if ledger.durable.holds(uid)]
    return (holding or named or [name])[-1]


def _state(ledger: Ledger, identity: str, pod: Mapping[str, Any] | None) -> list[str]:
    found = status.explain(ledger.allocator, identity)
    if found is None:
        if ledger.durable.holds(identity):
            return [f"  always admitted; accounted to {SYSTEM}, off the capacity"]
        return ["  ended"]
    estimated = " (estimated from its cgroup settings)" if pod and pod["estimated"] else ""
    return [
        f"  {found['state']} of consumer {found['consumer']}, group {found['group']}",
        f"  asks for {amounts(found['target'])}{estimated}; holds {amounts(found['held'])}",
        *_waits(found["verdict"]),
        *(_notice(ledger, notice) for notice in found["notices"]),
    ]


def _waits(verdict: Mapping[str, Any]) -> list[str]:
    if not verdict["shortage"]:
        return []
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    due = verdict["deadline"]
    by = f"; borrowers give back by {moment(due)}" if due is not None else ""
    return [f"  waits for {amounts(verdict['shortage'])}{reason}{by}"]


def _notice(ledger: Ledger, notice: Mapping[str, Any]) -> str:
    claimant = ledger.allocator.allocations.get(notice["for"])
    owner = claimant.consumer if claimant is not None else "the capacity, which shrank"
    return (
        f"  has to give back {amounts(notice['vector'])} by {moment(notice['deadline'])} "
        f"for {owner} (notice {notice['notice']})"
    )


def _events(ledger: Ledger, identity: str) -> list[str]:
    about = [entry for entry in ledger.history.after(0) if _concerns(entry.document, identity)]
    return [
        f"  {moment(entry.document['at'])} {entry.document['type']}{_details(entry.document)}"
        for entry in reversed(about[-EVENTS_SHOWN:])
    ]


def _concerns(document: Mapping[str, Any], identity: str) -> bool:
    parts = [part["id"] for part in document.get("strict", ())]
    return identity in (document.get("id"), document.get("claimant"), *parts) or identity in (
        document.get("ids", ())
    )


def _details(document: Mapping[str, Any]) -> str:
    shown = [
        f"{key}={_shown(key, it)}" for key, it in sorted(document.items()) if key not in _HIDDEN
    ]
    return f" {' '.join(shown)}" if shown else ""


def _shown(key: str, value: Any) -> str:
    if key in ("deadline", "until") and isinstance(value, int):
        return moment(value)
    if isinstance(value, Mapping):
        return f"({amounts(value)})"
    if isinstance(value, list):
        return ",".join(str(it["id"] if isinstance(it, Mapping) else it) for it in value)
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def amounts(vector: Vector) -> str:
    """A vector for people."""
    return render_vector(vector) or "nothing"


def moment(milliseconds: int) -> str:
    """A time for people."""
    return render_time(milliseconds // 1000)
