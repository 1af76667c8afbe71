"""Making a claim: whether the plan gives an allocation what others borrow, and who gives it."""

from collections.abc import Sequence

from berth.base.quantity import times
from nodeagent.allocator.plan.consumer import Order
from nodeagent.allocator.policy.victims import (
    Candidate,
    Targets,
    Trial,
    Watch,
    candidates,
    choose,
    claims_above,
)
from nodeagent.allocator.reclaim.notices import give_notice, withdraw
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.tree.lending import loans
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.feasibility import full_and_crowded, given
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs


def try_claim(
    pool: Pool, transaction: Transaction, allocation: Allocation, *, first: bool = False
) -> bool:
    """Open a claim for as much of what an allocation asks for as the plan gives it.

    `first`: even though it would fit, take back what its consumer has lent before using what is
    free. False, and nothing has changed, if there is no claim to make.
    """
    leaf = allocation.leaf
    portion, least, most = allocation.portions()
    if leaf in pool.tree.departed or hopeless(
        pool, transaction, leaf, pool.pairs(times(portion, least))
    ):
        return False
    count = most if most == 1 else _claimable(pool, transaction, allocation, portion, least, most)
    for tried in sorted({count, least}, reverse=True):
        if tried >= least and _claim(pool, transaction, allocation, times(portion, tried), first):
            return True
    return False


def hopeless(pool: Pool, transaction: Transaction, leaf: int, pairs: Pairs) -> bool:
    """Whether no claim of a vector can succeed, told without working out the targets.

    Where nothing is above its cap and every consumer on the path has its plan already of something
    short, a sticky tree leaves everybody what they hold.
    """
    tree = pool.tree
    path = tree.paths[leaf]
    if pool.over_cap or transaction.guard.built_in(pool) is None:
        return False
    if not all(tree.sticky[node] for node in path[1:]):
        return False
    return full_and_crowded(pool, leaf, pairs)


def promising(pool: Pool, transaction: Transaction, allocation: Allocation) -> bool:
    """Whether a claim of one who waits may succeed: False only if it would surely fail."""
    policy = transaction.guard.built_in(pool)
    leaf, pairs, _ = allocation.wish
    if policy is None or allocation.elastic or pool.lending.restricted:
        return True
    if pool.group.order is Order.RECLAIM_FIRST or leaf in pool.tree.departed:
        return True
    short = sorted(pool.booked.crowded(leaf, pairs))
    return given(pool, policy.divide(pool.tree), leaf, pairs, short)


def _claimable(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    portion: dict[str, int],
    least: int,
    most: int,
) -> int:
    """How many portions the targets would give an elastic allocation."""
    leaf = allocation.leaf
    pairs = pool.pairs(times(portion, most))
    short = sorted(pool.booked.crowded(leaf, pairs))
    targets = transaction.guard.targets(pool, leaf, pairs, short, allocation)
    count = most
    for name, amount in portion.items():
        resource = pool.number[name]
        if resource in targets:
            used = pool.booked.weight[resource][leaf]
            count = min(count, (targets[resource][leaf] - used) // amount)
    return max(count, 0)


def _claim(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    vector: dict[str, int],
    first: bool,
) -> bool:
    leaf, pairs = allocation.leaf, pool.pairs(vector)
    crowded = pool.booked.crowded(leaf, pairs)
    if any(leaf in nodes for nodes in crowded.values()):
        return False
    watches = [
        Watch(resource, node, pool.booked.cap[resource][node])
        for resource, nodes in crowded.items()
        for node in nodes
    ]
    if first and not crowded:
        watches = [Watch(each, 0, pool.booked.upward(each, 0)) for each, _ in pairs]
    unfunded = pool.unfunded(leaf, pairs)
    short = sorted({watch.resource for watch in watches} | set(unfunded))
    if first and not short:
        return False
    if allocation.firm and not _within_plan(pool, leaf, pairs, [each for each, _ in pairs]):
        return False
    spare = {watch.resource: watch.most for watch in watches} if first and not crowded else None
    targets = _goals(pool, transaction, allocation, pairs, short, bool(unfunded), spare)
    if targets is None:
        return False
    chosen = _victims(pool, transaction, allocation, pairs, watches, targets)
    if chosen is None:
        return False
    _open(pool, transaction, allocation, vector, short, chosen, targets, pinned=first)
    return True


def _within_plan(pool: Pool, leaf: int, pairs: Pairs, short: Sequence[int]) -> bool:
    return all(
        pool.booked.weight[resource][leaf] + amount <= pool.entitlements[resource].deserved[leaf]
        for resource, amount in pairs
        if resource in short
    )


def _goals(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    pairs: Pairs,
    short: list[int],
    by_loans: bool,
    budgets: dict[int, int] | None,
) -> Targets | None:
    """The targets of the short resources if they give the claimant what it asks for.

    Where permitted loans are what is short, a claim needs the plan itself, and whoever is above
    plan may have to give back.
    """
    leaf = allocation.leaf
    if by_loans:
        if not _within_plan(pool, leaf, pairs, short):
            return None
        return {resource: list(pool.entitlements[resource].deserved) for resource in short}
    policy = transaction.guard.built_in(pool)
    if policy is not None and budgets is None:
        if not given(pool, policy.divide(pool.tree), leaf, pairs, short):
            return None
        return transaction.guard.targets(pool, leaf, pairs, short, allocation)
    targets = transaction.guard.targets(pool, leaf, pairs, short, allocation, budgets)
    for resource, amount in pairs:
        if resource in targets:
            wanted = pool.booked.weight[resource][leaf] + amount
            if targets[resource][leaf] < wanted:
                return None
    return targets


def _victims(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    pairs: Pairs,
    watches: list[Watch],
    targets: Targets,
) -> list[Candidate] | None:
    """Who gives back: claims under way before what runs; None if all together do not suffice."""
    usage = pool.booked.copy()
    usage.post(allocation.leaf, pairs)
    restricted = [resource for resource, _ in pairs] if pool.lending.restricted else []
    trial = Trial(pool, usage, watches, restricted)
    if not trial.short() and not restricted:
        return []
    waiting: list[Candidate] = []
    if _within_plan(pool, allocation.leaf, pairs, list(targets)):
        waiting = claims_above(pool, transaction.allocations, targets)
    else:
        targets = _sparing_claims(pool, transaction, targets)
    found = candidates(pool, targets)
    order = transaction.guard.order_victims(pool, targets, found, allocation)
    if restricted:
        order = _funded_first(pool, allocation, targets, order)
    return choose(trial, waiting + order, targets)


def _sparing_claims(pool: Pool, transaction: Transaction, targets: Targets) -> Targets:
    """Targets with what each leaf is still claiming on top.

    Who is above its plan itself may not make another claim give way: two such would take turns
    for ever. Then what runs must not pay for what its leaf only claims.
    """
    raised = {resource: list(goal) for resource, goal in targets.items()}
    for claim in pool.claims.values():
        if claim.allocation:
            leaf = transaction.allocations[claim.allocation].leaf
            for name, amount in claim.vector.items():
                if pool.number[name] in raised:
                    raised[pool.number[name]][leaf] += amount
    return raised


def _funded_first(
    pool: Pool, allocation: Allocation, targets: Targets, order: list[Candidate]
) -> list[Candidate]:
    """Those first whom the claimant's own units are lent to."""
    mine = set()
    for resource in targets:
        usage = pool.booked.weight[resource]
        found = loans(pool.tree, pool.lending, pool.entitlements[resource], usage)
        mine |= {borrower for borrower, lender, _ in found.pairs if lender == allocation.consumer}
    return sorted(order, key=lambda one: one.allocation.consumer not in mine)


def _open(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    vector: dict[str, int],
    short: list[int],
    chosen: list[Candidate],
    targets: Targets,
    *,
    pinned: bool,
) -> None:
    names = tuple(pool.resources[resource] for resource in short)
    claim = Claim(
        transaction.name("c"),
        pool.group.name,
        allocation.id,
        dict(vector),
        names,
        transaction.now,
        pinned,
    )
    pool.stop_waiting(allocation)
    pool.open_claim(claim)
    pool.booked.post(allocation.leaf, pool.pairs(vector))
    allocation.claim = claim.id
    if allocation.state is State.PENDING:
        allocation.move(State.RECLAIMING)
    allocation.reason = "waits for units that others are giving back"
    for one in chosen:
        if one.claim:
            _give_way(pool, transaction, pool.claims[one.claim])
    cuts = [(one.allocation, one.vector) for one in chosen if not one.claim]
    give_notice(pool, transaction, claim, cuts, targets)


def _give_way(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """A claim is called off for one with a better right to its units; its client waits again."""
    allocation = transaction.allocations[claim.allocation]
    withdraw(pool, transaction, claim)
    pool.refresh(allocation)
    transaction.queue(allocation, "its claim gave way to another", allocation.missing)
