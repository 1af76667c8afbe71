"""The invariants of D* and of targets, in the fluid model: amounts only, no allocations.

A random tree is filled by random demands, one consumer asking after the other; everybody then
holds what the targets give. The tree is built from consumers directly, to be quick.
"""

from random import Random

from nodeagent.allocator.plan.consumer import Consumer, Cut, Mode, Rebalance
from nodeagent.allocator.policy.builtin import BUILT_IN
from nodeagent.allocator.tree.deserved import Entitlement, entitle
from nodeagent.allocator.tree.targets import Demand, roll_up, split
from nodeagent.allocator.tree.tree import Tree, grow

R = "units"
STEPS = 6


def random_tree(random: Random, capacity: int) -> tuple[Tree, bool]:
    """A tree with balanced ownership; and whether nothing but shares and ownership bounds it."""
    plain = random.random() < 0.5
    numbers = iter(range(10_000))
    consumers = _level(random, numbers, capacity, 1, plain)
    return grow(consumers, random.choice([Rebalance.STICKY, Rebalance.ADJUST])), plain


def _level(
    random: Random, numbers: object, budget: int, depth: int, plain: bool
) -> tuple[Consumer, ...]:
    found = []
    for _ in range(random.randint(1, 4)):
        own = random.choice([0, random.randint(0, budget)])
        budget -= own
        children: tuple[Consumer, ...] = ()
        if depth < 4 and random.random() < 0.4:
            children = _level(random, numbers, own, depth + 1, plain)
        bounds: dict[str, dict[str, int]] = {}
        if not plain:
            bounds = _bounds(random, own)
        rebalance = random.choice([None, None, None, Rebalance.STICKY, Rebalance.ADJUST])
        found.append(
            Consumer(
                name=f"c{next(numbers)}",  # type: ignore[call-overload] # an iterator of int
                own={R: own},
                share=random.choice([0, 1, 1, 2, 3, 7]),
                rank=random.randint(1, 3),
                rebalance=rebalance,
                children=children,
                **bounds,  # type: ignore[arg-type] # the vectors only
            )
        )
    return tuple(found)


def _bounds(random: Random, own: int) -> dict[str, dict[str, int]]:
    bounds = {}
    if random.random() < 0.3:
        bounds["reserve"] = {R: random.randint(0, own)}
    if random.random() < 0.25:
        bounds["limit"] = {R: own + random.randint(0, 20)}
    if random.random() < 0.25:
        bounds["borrow_limit"] = {R: random.randint(0, 20)}
    return bounds


def check_tree(seed: int) -> None:
    """One random tree through a few demands and a change of capacity."""
    random = Random(seed)
    capacity = random.choice([1, 7, 20, 100, 10**15 + 7])
    tree, plain = random_tree(random, capacity)
    mode = random.choice([Mode.HYBRID, Mode.HYBRID, Mode.SHARE, Mode.OWNERSHIP])
    policy = BUILT_IN[random.choice(["hybrid", "hybrid", "ownership"])]
    cut = random.choice([Cut.WATERFILL, Cut.WATERFILL, Cut.PRORATA])
    entitlement = entitle(tree, R, capacity, mode)
    check_entitlement(tree, entitlement, capacity, mode)
    usage = [0] * len(tree.parents)
    for _ in range(STEPS):
        if random.random() < 0.1:
            capacity = max(1, capacity + random.randint(-capacity // 2, capacity // 2))
            entitlement = entitle(tree, R, capacity, mode)
            check_entitlement(tree, entitlement, capacity, mode)
            usage = [0] * len(tree.parents)
        leaf = random.choice(tree.leaves)
        if random.random() < 0.2:
            usage[leaf] = random.randint(0, usage[leaf])
            continue
        demand = roll_up(
            tree, entitlement, usage, {leaf: usage[leaf] + random.randint(0, capacity)}
        )
        goal = split(tree, entitlement, demand, capacity, policy.divide(tree), cut)
        check_targets(tree, entitlement, demand, goal, capacity)
        if plain:
            check_necessity(tree, demand, goal, usage, leaf, capacity)
        usage = [goal[node] if not tree.children[node] else 0 for node in range(len(goal))]
        check_rest(tree, entitlement, usage, capacity, cut, policy.name)


def check_entitlement(tree: Tree, entitlement: Entitlement, capacity: int, mode: Mode) -> None:
    """I3: nobody is given what its parent does not have; nothing is lost that could be given."""
    deserved = entitlement.deserved
    assert deserved[0] == capacity
    for node in tree.inner:
        below = tree.children[node]
        total = sum(deserved[child] for child in below)
        assert total <= deserved[node]
        open_ended = any(
            tree.shares[child] and R not in tree.consumers[child].limit for child in below
        )
        if open_ended and mode is not Mode.OWNERSHIP:
            assert total == deserved[node]
    for node, consumer in enumerate(tree.consumers[1:], 1):
        own = 0 if mode is Mode.SHARE else consumer.own.get(R, 0)
        balanced = node not in entitlement.unbalanced and not entitlement.unbalanced
        assert deserved[node] >= own or not balanced
        assert entitlement.hold[node] <= deserved[node] <= entitlement.cap[node]


def check_targets(
    tree: Tree, entitlement: Entitlement, demand: Demand, goal: list[int], capacity: int
) -> None:
    """I1, I3, I4, I5: budgets add up, and nobody gets less than its plan if it wants it."""
    held = [0] * len(goal)
    for node in range(len(goal) - 1, -1, -1):
        if not tree.children[node]:
            assert 0 <= goal[node] <= demand.capped[node]
            held[node] = goal[node]
        held[node] = max(held[node], entitlement.hold[node])
        least = min(demand.wanted[node], entitlement.deserved[node])
        if tree.children[node]:
            below = sum(goal[child] for child in tree.children[node] if tree.children[child])
            assert below <= goal[node]
            assert goal[node] >= least
        else:
            assert goal[node] >= min(demand.capped[node], entitlement.deserved[node])
        assert held[node] <= entitlement.cap[node]
        if node:
            held[tree.parents[node]] += held[node]
    assert held[0] <= capacity


def check_necessity(
    tree: Tree, demand: Demand, goal: list[int], usage: list[int], leaf: int, capacity: int
) -> None:
    """I8 and I7: exactly as much is cut as the growth exceeds what is free, from those above."""
    cut = sum(max(0, usage[node] - goal[node]) for node in tree.leaves)
    growth = goal[leaf] - usage[leaf]
    free = capacity - sum(usage[node] for node in tree.leaves)
    assert growth >= 0
    assert cut == max(0, growth - free)


def check_rest(
    tree: Tree, entitlement: Entitlement, usage: list[int], capacity: int, cut: Cut, name: str
) -> None:
    """Without a new demand everybody keeps what it holds."""
    demand = roll_up(tree, entitlement, usage, {})
    goal = split(tree, entitlement, demand, capacity, BUILT_IN[name].divide(tree), cut)
    for leaf in tree.leaves:
        assert goal[leaf] == usage[leaf]
