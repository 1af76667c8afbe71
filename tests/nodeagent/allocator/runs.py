"""Random runs of a whole allocator, every invariant checked after every operation."""

import json
from random import Random
from zoneinfo import ZoneInfo

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.values.event import Answer, Decision, EventType
from nodeagent.allocator.values.operation import (
    Operation,
    Release,
    Request,
    Tick,
    operation_document,
    operation_from_document,
)
from tests.nodeagent.allocator.invariants import check_all, check_protection
from tests.nodeagent.allocator.trees import random_allocator, random_operation

MOST_ROUNDS = 3_000
"""More reclaims than this from one operation would be a loop (I11)."""


def check_run(seed: int, steps: int) -> int:
    """One random tree through random operations; the number of operations applied.

    Operations travel as JSON, and now and then a twin is read back from a snapshot, which must
    decide the same from then on (I12, I14).
    """
    run = Run(seed)
    for number in range(steps):
        run.step(number)
    return run.seq


class Run:
    """An allocator, its twin if there is one, and the dice."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.allocator = random_allocator(self.random, self.random.choice([1, 2]))
        self.twin: Allocator | None = None
        self.now = 0
        self.seq = 0

    def step(self, number: int) -> None:
        """Let some time pass and something happen; forced stops mostly happen at once."""
        self.now += self.random.choice([0, 0, 1000, 3000, 30_000])
        queue: list[Operation] = [random_operation(self.random, self.allocator, number)]
        for _ in range(MOST_ROUNDS):
            if not queue:
                break
            operation = queue.pop(0)
            if isinstance(operation, Release) and operation.id not in self.allocator.allocations:
                continue
            decision = self._decide(operation)
            for event in decision.events:
                if event.type is EventType.FORCED and self.random.random() < 0.7:
                    queue += [
                        Release(row["id"], row["vector"], autoadjust=False)
                        for row in event.fields["strict"]
                    ]
        assert not queue, "I11: reclaims do not come to rest"
        if self.random.random() < 0.1:
            snapshot = json.loads(json.dumps(self.allocator.to_document()))
            self.twin = Allocator.from_document(snapshot, zones=ZoneInfo)

    def _decide(self, operation: Operation) -> Decision:
        operation = operation_from_document(json.loads(json.dumps(operation_document(operation))))
        owed = self._owed(operation)
        decision = self._apply(operation)
        check_all(self.allocator)
        check_protection(self.allocator, decision)
        if owed:
            served = (Answer.GRANTED, Answer.PARTIAL, Answer.RECLAIMING)
            # Its claim may cancel a notice to its own consumer, which then has its plan already.
            kept = not self._in_plan(operation)
            assert decision.verdict.answer in served or kept, "I6: an owner was not served"
        return decision

    def _apply(self, operation: Operation) -> Decision:
        self.seq += 1
        decision = self.allocator.apply(operation, self.now, self.seq)
        if self.twin is not None:
            again = self.twin.apply(operation, self.now, self.seq)
            assert json.dumps(again.to_document()) == json.dumps(decision.to_document())
        return decision

    def _owed(self, operation: Operation) -> bool:
        """Whether a request lies in its consumer's plan, so that it must be served (I6)."""
        if not isinstance(operation, Request) or operation.id in self.allocator.allocations:
            return False
        if any(row.firm for row in self.allocator.allocations.values()):
            return False
        self._apply(Tick())
        return self._in_plan(operation)

    def _in_plan(self, operation: Operation) -> bool:
        """Whether a request would not lift its consumer above its plan."""
        assert isinstance(operation, Request)
        pool = self.allocator.pools["default"]
        leaf = pool.tree.leaf(operation.consumer)
        return leaf is not None and all(
            pool.projected.weight[pool.number[name]][leaf] + amount * operation.minimum
            <= pool.entitlements[pool.number[name]].deserved[leaf]
            for name, amount in operation.vector.items()
        )
