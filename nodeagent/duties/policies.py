"""Sharing policies that other packages plug in, kept from holding up the agent."""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import FrameType

from nodeagent.allocator.plan.plan import Group
from nodeagent.allocator.policy.frame import (
    DEADLINE,
    ENTRY_POINTS,
    Ask,
    Holding,
    PolicyTooSlow,
    SharingPolicy,
    View,
)

log = logging.getLogger(__name__)

_HUNG_SECONDS = 5 * DEADLINE / 1000
"""After which a call is interrupted. What takes longer than DEADLINE counts as failed."""


def plugged_in() -> dict[str, SharingPolicy]:
    """The installed policies by name; one that cannot be loaded is logged and left out."""
    found: dict[str, SharingPolicy] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            policy = entry.load()()
        except Exception as error:
            # Whatever foreign code raises must not stop the node: groups that name this policy are
            # refused with a message, or fall back to a built-in one if they were in force before.
            log.error("sharing policy %s cannot be loaded: %s", entry.name, error)
            continue
        if isinstance(policy, SharingPolicy):
            found[entry.name] = Bounded(policy)
        else:
            log.error("sharing policy %s (%s) is no policy", entry.name, entry.value)
    return found


@contextmanager
def _bounded() -> Iterator[None]:
    """Interrupt what hangs in Python code: PolicyTooSlow is raised where it is.

    A policy is asked in the middle of a decision, on the event loop: while it hangs the node does
    nothing. A thread could not be stopped, and a process would cost each call milliseconds.
    """
    # Python runs signal handlers between two instructions of the main thread. In another thread
    # there is nothing to interrupt with, and a call into C is not interrupted before it returns.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise PolicyTooSlow

    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, _HUNG_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Bounded:
    """A policy whose calls end, whatever it does."""

    def __init__(self, policy: SharingPolicy) -> None:
        self._policy = policy

    @property
    def name(self) -> str:
        return self._policy.name

    def validate(self, group: Group) -> Sequence[str]:
        # A list inside the bound: a generator would do its work only when it is read, outside.
        with _bounded():
            return list(self._policy.validate(group))

    def targets(
        self, view: View, claim: Ask, short: Sequence[str]
    ) -> Mapping[str, Mapping[str, int]]:
        with _bounded():
            return self._policy.targets(view, claim, short)

    def order_pending(self, view: View) -> Sequence[str]:
        with _bounded():
            return list(self._policy.order_pending(view))

    def order_victims(self, view: View, claim: Ask, holdings: Sequence[Holding]) -> Sequence[int]:
        with _bounded():
            return list(self._policy.order_victims(view, claim, holdings))
