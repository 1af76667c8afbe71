"""Making a claim: whether the plan gives an allocation what others hold, and which of them it cuts.

The rule is semantics 2.7. A claim exists if the targets (2.4) with this demand on top give the
claimant all of it in every resource that is short. Then victims are chosen among what lies above
target, until the claim fits; if that takes a state that cannot be reached, nothing has changed.
Semantics 2.7 also says what the rule does not guarantee, with several resources above all.
"""

from collections.abc import Collection

from berth.base.quantity import times
from nodeagent.allocator.claims.feasibility import claim_ruled_out, targets_cover
from nodeagent.allocator.policy.victims import (
    Bound,
    Candidate,
    Targets,
    Trial,
    candidates,
    choose,
    claims_above,
)
from nodeagent.allocator.reclaim.notices import give_notice, withdraw
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.tree.lending import loans
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs


def try_claim(
    pool: Pool, transaction: Transaction, allocation: Allocation, *, first: bool = False
) -> bool:
    """Open a claim for as much of what an allocation asks for as the plan gives it.

    `first`: even though it would fit, take back what its consumer has lent before using what is
    free (`reclaimFirst`). False, and nothing has changed, if there is no claim to make.
    """
    leaf = allocation.leaf
    portion, least, most = allocation.portions()
    if leaf in pool.tree.orphans or claim_ruled_out(
        pool, transaction, leaf, pool.pairs(times(portion, least))
    ):
        return False
    count = most if most == 1 else _claimable(pool, transaction, allocation, portion, least, most)
    # What the targets give may still lack victims, such as where non-preemptible pods hold it; then
    # the least it can run with.
    for tried in sorted({count, least}, reverse=True):
        if tried >= least and _claim(pool, transaction, allocation, times(portion, tried), first):
            return True
    return False


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
    short = sorted(pool.projected.exceeded(leaf, pairs))
    # With all portions on top: what targets give of the most they also give if less is asked.
    targets = transaction.guard.targets(pool, leaf, pairs, short, allocation)
    count = most
    for name, amount in portion.items():
        resource = pool.number[name]
        if resource in targets:
            used = pool.projected.weight[resource][leaf]
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
    exceeded = pool.projected.exceeded(leaf, pairs)
    # The leaf's own cap is reached: nothing that others give back helps.
    if any(leaf in nodes for nodes in exceeded.values()):
        return False
    bounds = [
        Bound(resource, node, pool.projected.cap[resource][node])
        for resource, nodes in exceeded.items()
        for node in nodes
    ]
    if first and not exceeded:
        # Nothing is short. To take back all the same, the group must end with what it uses now.
        bounds = [Bound(each, 0, pool.projected.upward(each, 0)) for each, _ in pairs]
    # It may fit and still have no lender that permits it: then loans are what is short.
    unfunded = pool.unfunded(leaf, pairs)
    short = sorted({bound.resource for bound in bounds} | set(unfunded))
    if first and not short:
        return False
    # Never above plan, not even for a moment: nobody could take it back.
    if allocation.firm and not pool.in_plan(leaf, pairs):
        return False
    budgets = {bound.resource: bound.most for bound in bounds} if first and not exceeded else None
    targets = _goals(pool, transaction, allocation, pairs, short, bool(unfunded), budgets)
    if targets is None:
        return False
    chosen = _victims(pool, transaction, allocation, pairs, bounds, targets)
    if chosen is None:
        return False
    _open(pool, transaction, allocation, vector, short, chosen, targets, pinned=first)
    return True


def _in_plan(pool: Pool, leaf: int, pairs: Pairs, resources: Collection[int]) -> bool:
    """Whether a vector is in plan in these resources; the others do not matter."""
    return pool.in_plan(leaf, [(each, amount) for each, amount in pairs if each in resources])


def _goals(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    pairs: Pairs,
    short: list[int],
    by_loans: bool,
    budgets: dict[int, int] | None,
) -> Targets | None:
    """The targets of the short resources if they give the claimant what it asks for, else None.

    Where permitted loans are what is short, a claim needs the plan itself, and everybody above
    plan is a candidate: targets know nothing of permitted loans.
    """
    leaf = allocation.leaf
    if by_loans:
        if not _in_plan(pool, leaf, pairs, short):
            return None
        return {resource: list(pool.entitlements[resource].deserved) for resource in short}
    policy = transaction.guard.built_in(pool)
    if policy is not None and budgets is None:
        # One path first: most claims fail here, and all targets cost a pass over the tree.
        if not targets_cover(pool, policy.divide(pool.tree), leaf, pairs, short):
            return None
        return transaction.guard.targets(pool, leaf, pairs, short, allocation)
    targets = transaction.guard.targets(pool, leaf, pairs, short, allocation, budgets)
    for resource, amount in pairs:
        if resource in targets:
            wanted = pool.projected.weight[resource][leaf] + amount
            if targets[resource][leaf] < wanted:
                return None
    return targets


def _victims(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    pairs: Pairs,
    bounds: list[Bound],
    targets: Targets,
) -> list[Candidate] | None:
    """The victims: claims under way before what runs; None if all together do not suffice.

    A claim that gives way costs nobody a running pod.
    """
    usage = pool.projected.copy()
    usage.post(allocation.leaf, pairs)
    restricted = [resource for resource, _ in pairs] if pool.lending.restricted else []
    # With lending restricted, cuts must leave loans that are permitted, in everything it asks for.
    trial = Trial(pool, usage, bounds, restricted)
    # It fits once what is under way has ended: only to be waited for.
    if not trial.short() and not restricted:
        return []
    waiting: list[Candidate] = []
    if _in_plan(pool, allocation.leaf, pairs, targets):
        waiting = claims_above(pool, transaction.allocations, targets)
    else:
        targets = _targets_with_claims(pool, transaction, targets)
    found = candidates(pool, targets)
    order = transaction.guard.order_victims(pool, targets, found, allocation)
    if restricted:
        order = _funded_first(pool, allocation, targets, order)
    return choose(trial, waiting + order, targets)


def _targets_with_claims(pool: Pool, transaction: Transaction, targets: Targets) -> Targets:
    """Targets with what each leaf is still claiming on top.

    A claimant above its own plan may not make another claim give way: two such would cancel each
    other's claims for ever. A leaf's projected usage holds its claims; without raising its target
    by them its running pods would be cut for units it has not got yet.
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
    """The same order, but first those to whom the claimant's own units are lent.

    Their grace fits its `lendoutGrace`, or they could not have borrowed from it (semantics 2.9).
    """
    mine = set()
    for resource in targets:
        usage = pool.projected.weight[resource]
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
    # Out of the queue: the units are on their way, and it must not be served a second time.
    pool.stop_waiting(allocation)
    pool.open_claim(claim)
    # Before any notice is written: what is required of borrowers is measured with this on top.
    pool.projected.post(allocation.leaf, pool.pairs(vector))
    allocation.claim = claim.id
    if allocation.state is State.PENDING:
        allocation.move(State.RECLAIMING)
    allocation.reason = "waits for units that others are giving back"
    for one in chosen:
        if one.claim:
            _give_way(pool, transaction, pool.claims[one.claim])
    # Claims that gave way have none: what they would have got is simply not counted any more.
    cuts = [(one.allocation, one.vector) for one in chosen if not one.claim]
    give_notice(pool, transaction, claim, cuts, targets)


def _give_way(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """Cancel a claim for one with a better right to its units; its allocation waits again."""
    allocation = transaction.allocations[claim.allocation]
    withdraw(pool, transaction, claim)
    pool.refresh(allocation)
    transaction.queue(allocation, "its claim gave way to another", allocation.missing)
