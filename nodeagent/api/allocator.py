"""berth.node.v1: the allocator for consumers and for the command line."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc

from berth.pb import node_v1_pb2 as pb
from berth.pb.node_v1_pb2_grpc import NodeAllocatorServicer
from nodeagent.allocator.status import consumers, loan_rows
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.operation import Operation
from nodeagent.api import messages
from nodeagent.api.faults import errors_as_status
from nodeagent.duties.explain import explain
from nodeagent.duties.plans import Plans
from nodeagent.ledger.ledger import Ledger

Message = TypeVar("Message")


class NodeAllocator(NodeAllocatorServicer):
    """Serves the protocol from the ledger.

    Operations and events are durable when a client sees them. Status, Explain and PlanShow read the
    allocator in memory and may be ahead of that by the batch under way (milliseconds).
    """

    def __init__(self, ledger: Ledger, plans: Plans) -> None:
        self._ledger = ledger
        self._plans = plans

    async def _apply(
        self, read: Callable[[Message], Operation], message: Message, context: Any
    ) -> pb.Decision:
        async with errors_as_status(context):
            applied = await self._ledger.apply(read(message))
            return messages.decision(applied.decision, applied.entries)

    async def Request(self, request: pb.AllocationRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.request, request, context)

    async def Modify(self, request: pb.ModifyRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.modify, request, context)

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.release, request, context)

    async def Cancel(self, request: pb.CancelRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.cancel, request, context)

    async def Block(self, request: pb.BlockRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.block, request, context)

    async def Unblock(self, request: pb.UnblockRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.unblock, request, context)

    async def Offer(self, request: pb.OfferRequest, context: Any) -> pb.Decision:
        return await self._apply(messages.offer, request, context)

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Event]:
        async with errors_as_status(context):
            async for entry in self._ledger.history.watch(request.cursor):
                # Events of a plan have no consumer: only a watch of everything gets them.
                if request.consumer in ("", entry.document.get("consumer")):
                    yield messages.event(entry)

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:
        async with errors_as_status(context):
            allocator = self._ledger.allocator
            rows, loans = consumers(allocator), loan_rows(allocator)
            return pb.StatusResponse(
                groups=[
                    _group(pool, rows, loans, self._ledger.fallbacks[pool.group.name])
                    for pool in allocator.pools.values()
                ],
                plan=allocator.plan.name,
                cursor=self._ledger.history.durable,
            )

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        lines = explain(self._ledger, request.name)
        if lines is None:
            text = f"no pod or allocation {request.name!r} is known; name a pod as namespace/name"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return pb.ExplainResponse(lines=lines)

    async def PlanShow(self, request: pb.PlanShowRequest, context: Any) -> pb.PlanShowResponse:
        document = self._ledger.allocator.plan.document
        return pb.PlanShowResponse(document=json.dumps(document, sort_keys=True))

    async def PlanApply(self, request: pb.PlanApplyRequest, context: Any) -> pb.PlanApplyResponse:
        async with errors_as_status(context):
            return pb.PlanApplyResponse(
                name=await self._plans.apply(self._ledger, request.document)
            )


def _group(
    pool: Pool, rows: list[dict[str, Any]], loans: list[dict[str, Any]], fallbacks: int
) -> pb.Group:
    mine = [row for row in rows if row["group"] == pool.group.name]
    capacity = dict(zip(pool.resources, pool.capacity, strict=True))
    used = {name: pool.used(resource)[0] for resource, name in enumerate(pool.resources)}
    return pb.Group(
        name=pool.group.name,
        mode=pool.group.mode.value,
        capacity=capacity,
        # Never below zero: capacity may shrink below what is used, until that is reclaimed.
        free={name: max(0, amount - used[name]) for name, amount in capacity.items()},
        consumers=[_consumer(row) for row in mine],
        loans=[_loan(row) for row in loans if row["group"] == pool.group.name],
        policy_fallbacks=fallbacks,
    )


def _consumer(row: dict[str, Any]) -> pb.Consumer:
    vectors = {
        # Zeros are left out: 150 consumers with 10 resources would be 9,000 of them.
        name: {resource: amount for resource, amount in row[name].items() if amount}
        for name in ("own", "deserved", "used", "borrowed", "lent", "pending")
    }
    return pb.Consumer(
        name=row["consumer"],
        parent=row["parent"],
        leaf=row["leaf"],
        deadline=messages.nanoseconds(row["deadline"]),
        **vectors,
    )


def _loan(row: dict[str, Any]) -> pb.Loan:
    return pb.Loan(**{name: row[name] for name in ("resource", "borrower", "lender", "amount")})
