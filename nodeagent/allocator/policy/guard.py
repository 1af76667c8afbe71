"""Asks the sharing policies and checks what they return; `hybrid` decides where a plug-in fails.

One node must not stop because of foreign code, and a replay must decide as the log did though a
plug-in was slow then and is not now: failed calls are numbered and recorded (semantics 2.13).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from berth.base.quantity import times
from nodeagent.allocator.policy.builtin import BUILT_IN, HYBRID, BuiltIn, in_plan
from nodeagent.allocator.policy.check import AnswerRefused, check_order, check_targets
from nodeagent.allocator.policy.frame import (
    DEADLINE,
    Ask,
    Holding,
    Node,
    PolicyTooSlow,
    SharingPolicy,
    View,
)
from nodeagent.allocator.policy.victims import Candidate, Targets
from nodeagent.allocator.tree.targets import Demand, roll_up, split
from nodeagent.allocator.usage.allocation import Allocation
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs

Result = TypeVar("Result")


def _no_time() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Fallback:
    """A call of a plug-in that failed, and why."""

    group: str
    policy: str
    call: str
    reason: str


@dataclass(slots=True)
class PolicyGuard:
    """`clock` gives milliseconds that only grow. `replayed` None asks the plug-ins; else the calls
    with these numbers fall back without being asked, as they did when the log was written.
    """

    # What a replay needs to decide as the log did, though a plug-in that was late then is not now:
    #
    #    live      call 0 asked   call 1 asked, late → hybrid     journal: fallbacks [1]
    #    replay    call 0 asked   call 1 not asked   → hybrid
    #
    # It holds only for a pure plug-in of the same version; one that changed since may decide
    # otherwise, as another release of the built-in rules may.

    plugins: Mapping[str, SharingPolicy] = field(default_factory=dict)
    clock: Callable[[], int] = _no_time
    replayed: frozenset[int] | None = None
    fallbacks: list[Fallback] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    _calls: int = 0

    def begin(self, replayed: frozenset[int] | None) -> None:
        """Begin another operation."""
        self.replayed, self._calls = replayed, 0
        # Only when needed: this runs for every operation.
        if self.failed:
            self.fallbacks, self.failed = [], []

    def built_in(self, pool: Pool) -> BuiltIn | None:
        """The built-in policy of a group, None if a plug-in decides.

        A plug-in that is not installed any more (an old journal is replayed) gives way to `hybrid`.
        """
        name = pool.group.policy
        return BUILT_IN.get(name) or (None if name in self.plugins else HYBRID)

    def targets(
        self,
        pool: Pool,
        leaf: int,
        more: Pairs,
        short: Sequence[int],
        allocation: Allocation | None,
        budgets: Mapping[int, int] | None = None,
    ) -> Targets:
        """G of the short resources, with `more` on top of what the leaf uses (leaf -1: nobody).

        `budgets` by resource take the place of the capacity; a plug-in is not asked for those.
        """
        demands = demands_of(pool, leaf, more, short)
        built_in = self.built_in(pool)
        if built_in is not None or allocation is None or budgets:
            return _split(pool, built_in or HYBRID, demands, budgets)

        def ask(policy: SharingPolicy, view: View) -> Targets:
            names = [pool.resources[resource] for resource in short]
            claim = ask_of(pool, allocation, pool.vector(more))
            return check_targets(pool, demands, policy.targets(view, claim, names))

        return self._call(pool, "targets", ask, lambda: _split(pool, HYBRID, demands))

    def order_waiting(self, pool: Pool, some: list[Allocation]) -> list[Allocation]:
        """The allocations given, in the order in which they are served.

        A plug-in orders everything that waits, so that the result does not depend on the caller.
        """
        built_in = self.built_in(pool)
        if built_in is not None:
            return built_in.order_waiting(pool, some)
        waiting = [one for queue in pool.waiting.values() for one in queue.values()]
        # There is nothing to order, so no call that could fail and no number for it.
        if len(waiting) < 2:
            return waiting

        def ask(policy: SharingPolicy, view: View) -> list[Allocation]:
            table = {one.id: one for one in waiting}
            return [table[key] for key in check_order(policy.order_pending(view), table)]

        return self._call(pool, "order_pending", ask, lambda: HYBRID.order_waiting(pool, waiting))

    def order_victims(
        self, pool: Pool, targets: Targets, found: list[Candidate], allocation: Allocation | None
    ) -> list[Candidate]:
        """The candidates in the order in which they give back."""
        built_in = self.built_in(pool)
        if built_in is not None or allocation is None:
            return (built_in or HYBRID).order_victims(pool, targets, found)

        def ask(policy: SharingPolicy, view: View) -> list[Candidate]:
            table = dict(enumerate(found))
            rows = [_holding(key, one) for key, one in table.items()]
            claim = ask_of(pool, allocation, allocation.missing)
            keys = check_order(policy.order_victims(view, claim, rows), table)
            return parts_in_order([table[key] for key in keys])

        return self._call(
            pool, "order_victims", ask, lambda: HYBRID.order_victims(pool, targets, found)
        )

    def _call(
        self,
        pool: Pool,
        call: str,
        ask: Callable[[SharingPolicy, View], Result],
        hybrid: Callable[[], Result],
    ) -> Result:
        # Counted whether it fails or not: the numbers are how a replay knows which calls failed.
        number, self._calls = self._calls, self._calls + 1
        policy = self.plugins[pool.group.policy]
        if self.replayed is not None and number in self.replayed:
            self._fail(pool, call, number, "as recorded")
            return hybrid()
        start = self.clock()
        # A replay must decide as the log did, however slow the machine is now.
        unhurried = self.replayed is not None

        def expired() -> bool:
            return not unhurried and self.clock() - start > DEADLINE

        try:
            answer = ask(policy, view_of(pool, expired))
        except AnswerRefused as error:
            reason = str(error)
        except PolicyTooSlow:
            reason = f"took longer than {DEADLINE} ms"
        except Exception as error:  # whatever foreign code raises must not stop the node
            reason = f"raised {type(error).__name__}"
        else:
            # A right result that came late counts as failed: the writer was held up all the same,
            # and a plug-in that never looks at its view is found out only here.
            if not expired():
                return answer
            reason = f"took longer than {DEADLINE} ms"
        self._fail(pool, call, number, reason)
        return hybrid()

    def _fail(self, pool: Pool, call: str, number: int, reason: str) -> None:
        self.failed.append(number)
        self.fallbacks.append(Fallback(pool.group.name, pool.group.policy, call, reason))


def demands_of(pool: Pool, leaf: int, more: Pairs, short: Sequence[int]) -> dict[int, Demand]:
    """The rolled-up demand of each short resource."""
    extra = dict(more)
    return {
        resource: roll_up(
            pool.tree,
            pool.entitlements[resource],
            pool.projected.weight[resource],
            {leaf: pool.projected.weight[resource][leaf] + extra.get(resource, 0)}
            if leaf >= 0
            else {},
        )
        for resource in short
    }


def _split(
    pool: Pool,
    policy: BuiltIn,
    demands: Mapping[int, Demand],
    budgets: Mapping[int, int] | None = None,
) -> Targets:
    divide = policy.divide(pool.tree)
    return {
        resource: split(
            pool.tree,
            pool.entitlements[resource],
            demand,
            (budgets or {}).get(resource, pool.capacity[resource]),
            divide,
            pool.group.cut,
        )
        for resource, demand in demands.items()
    }


def parts_in_order(found: list[Candidate]) -> list[Candidate]:
    """The same order of allocations, but the part each cannot run without after its other parts.

    A plug-in may order parts as it likes; an allocation that lost its last part first would be
    stopped for a unit it could have run without.
    """
    waiting: dict[str, list[Candidate]] = {}
    for one in found:
        waiting.setdefault(one.allocation.id, []).append(one)
    for rows in waiting.values():
        rows.sort(key=lambda one: one.last, reverse=True)
    return [waiting[one.allocation.id].pop() for one in found]


def ask_of(pool: Pool, allocation: Allocation, vector: Mapping[str, int]) -> Ask:
    """What an allocation asks for, as a policy sees it."""
    return Ask(
        allocation.id,
        allocation.consumer,
        vector,
        allocation.priority,
        allocation.seq,
        in_plan(pool, allocation),
    )


def _holding(key: int, one: Candidate) -> Holding:
    row = one.allocation
    return Holding(key, row.id, row.consumer, one.vector, row.priority, row.seq)


def view_of(pool: Pool, expired: Callable[[], bool]) -> View:
    """A copy of what a policy may see of a group."""
    waiting = [one for queue in pool.waiting.values() for one in queue.values()]
    asks = [ask_of(pool, one, times(*one.portions()[:2])) for one in waiting]
    nodes = {name: _node(pool, number) for number, name in enumerate(pool.tree.names)}
    capacity = dict(zip(pool.resources, pool.capacity, strict=True))
    return View(pool.group.name, capacity, nodes, asks, expired)


def _node(pool: Pool, number: int) -> Node:
    tree, names = pool.tree, pool.resources
    above = tree.parents[number]
    return Node(
        name=tree.consumers[number].name,
        parent=tree.consumers[above].name if above >= 0 else "",
        leaf=not tree.children[number],
        share=tree.shares[number],
        rank=tree.ranks[number],
        deserved={
            name: row.deserved[number] for name, row in zip(names, pool.entitlements, strict=True)
        },
        hold={name: row.hold[number] for name, row in zip(names, pool.entitlements, strict=True)},
        cap={name: row.cap[number] for name, row in zip(names, pool.entitlements, strict=True)},
        used={name: pool.projected.upward(each, number) for each, name in enumerate(names)},
    )
