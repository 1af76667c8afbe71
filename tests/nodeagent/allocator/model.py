"""The same decisions computed slowly and plainly, from the rules of docs/semantics.md alone.

One resource, plain dictionaries, fractions instead of remainder tricks, recursion instead of
arrays, and every subset of victims instead of a clever order. Shares no code with the allocator.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from math import inf

Shares = dict[str, int]


@dataclass
class Leaf:
    """A consumer; `units` are the sizes of its running allocations by id (leaves only)."""

    name: str
    own: int = 0
    share: int = 1
    limit: float = inf
    borrow_limit: float = inf
    reserve: int = 0
    sticky: bool = True
    children: list["Leaf"] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)
    deserved: int = 0

    @property
    def used(self) -> int:
        return sum(self.units.values()) + sum(child.used for child in self.children)

    @property
    def hold(self) -> int:
        return min(self.reserve, self.deserved)

    @property
    def cap(self) -> float:
        return min(self.limit, self.deserved + self.borrow_limit)

    def leaves(self) -> list["Leaf"]:
        if not self.children:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves()]

    def path(self, name: str) -> list["Leaf"]:
        """From here down to the leaf of that name; empty if it is not below."""
        if self.name == name:
            return [self]
        for child in self.children:
            below = child.path(name)
            if below:
                return [self, *below]
        return []


def fill(total: int, names: list[str], weights: Shares, caps: dict[str, float]) -> Shares:
    """Raise one water level until the total is used up; whole units by largest remainder."""
    level = Fraction(0)
    exact = {name: Fraction(0) for name in names}
    while True:
        open_names = [name for name in names if weights[name] and exact[name] < caps[name]]
        left = total - sum(exact.values())
        if not open_names or left <= 0:
            break
        rate = sum(weights[name] for name in open_names)
        steps = [Fraction(left, rate)]
        bounded = [name for name in open_names if caps[name] != inf]
        steps += [(Fraction(caps[name]) - exact[name]) / weights[name] for name in bounded]
        level = min(steps)
        for name in open_names:
            exact[name] += level * weights[name]
    return rounded(names, exact)


def rounded(names: list[str], exact: dict[str, Fraction]) -> Shares:
    """Whole units with the same sum: the largest remainder first, ties in tree order."""
    whole = {name: int(exact[name]) for name in names}
    left = int(sum(exact.values())) - sum(whole.values())
    rest = sorted(names, key=lambda name: (whole[name] - exact[name], names.index(name)))
    for name in rest[:left]:
        whole[name] += 1
    return whole


def scaled(total: int, names: list[str], parts: dict[str, float]) -> Shares:
    """Parts in proportion, summing to the total."""
    whole = sum(parts.values())
    if whole <= total:
        return {name: int(parts[name]) for name in names}
    return rounded(names, {name: Fraction(int(parts[name]) * total, int(whole)) for name in names})


def fill_all(total: int, names: list[str], weights: Shares, caps: dict[str, float]) -> Shares:
    """By weight, and what is left over to those of weight 0 alike."""
    if sum(caps.values()) <= total:
        return {name: int(caps[name]) for name in names}
    first = fill(total, names, weights, caps)
    left = total - sum(first.values())
    poor = {name: (caps[name] if not weights[name] else 0) for name in names}
    second = fill(left, names, dict.fromkeys(names, 1), poor)
    return {name: first[name] + second[name] for name in names}


def deserve(node: Leaf, total: int) -> None:
    """D* of a node and everything below it."""
    node.deserved = total
    names = [child.name for child in node.children]
    if not names:
        return
    own = {child.name: child.own for child in node.children}
    base = scaled(total, names, {name: float(amount) for name, amount in own.items()})
    headroom = {child.name: child.limit - base[child.name] for child in node.children}
    weights = {child.name: child.share for child in node.children}
    pool = fill(total - sum(base.values()), names, weights, headroom)
    for child in node.children:
        deserve(child, base[child.name] + pool[child.name])


def wanted(node: Leaf, extra: Shares) -> int:
    """e: what a node asks for, its reserve standing."""
    if not node.children:
        return int(max(min(node.used + extra.get(node.name, 0), node.cap), node.hold))
    below = sum(wanted(child, extra) for child in node.children)
    return int(min(max(below, node.hold), node.cap))


def weight(node: Leaf) -> int:
    """U: what a node weighs now."""
    if not node.children:
        return max(node.used, node.hold)
    return max(sum(weight(child) for child in node.children), node.hold)


def targets(node: Leaf, budget: int, extra: Shares) -> Shares:
    """G of every leaf below a node."""
    if not node.children:
        return {node.name: int(min(budget, node.used + extra.get(node.name, 0), node.cap))}
    names = [child.name for child in node.children]
    asks = {child.name: wanted(child, extra) for child in node.children}
    got = {child.name: min(asks[child.name], child.deserved) for child in node.children}
    shares = {child.name: child.share for child in node.children}
    if node.sticky:
        held = {
            child.name: max(0, min(weight(child), asks[child.name]) - got[child.name])
            for child in node.children
        }
        kept = fill_all(budget - sum(got.values()), names, shares, dict(held))
        got = {name: got[name] + kept[name] for name in names}
    rest = {name: asks[name] - got[name] for name in names}
    more = fill_all(budget - sum(got.values()), names, shares, dict(rest))
    found: Shares = {}
    for child in node.children:
        found |= targets(child, got[child.name] + more[child.name], extra)
    return found


def fits(root: Leaf, capacity: int, name: str, size: int) -> bool:
    """Whether an allocation more stays within every bound above it."""
    leaf = root.path(name)[-1]
    leaf.units["?"] = size
    fine = all(weight(node) <= node.cap for node in root.path(name)[1:])
    fine = fine and weight(root) <= capacity
    del leaf.units["?"]
    return fine


def decide(root: Leaf, capacity: int, name: str, size: int) -> tuple[str, list[set[str]]]:
    """The verdict on a request, and for RECLAIMING every smallest set of victims that would do.

    A set will do if the claim fits without it, it comes from leaves above target, from each leaf
    no more than it takes to bring it to its target, and no smaller part of it will do.
    """
    path = root.path(name)
    if size > capacity or path[-1].used + size > path[-1].cap:
        return "REFUSED", []
    if any(size > node.cap for node in path[1:]):
        return "REFUSED", []
    if fits(root, capacity, name, size):
        return "GRANTED", []
    goal = targets(root, capacity, {name: size})
    if goal[name] < path[-1].used + size:
        return "PENDING", []
    above = [leaf for leaf in root.leaves() if leaf.used > goal[leaf.name]]
    parts = [(leaf, key) for leaf in above for key in leaf.units]
    enough: list[set[str]] = []
    for count in range(len(parts) + 1):
        for chosen in combinations(parts, count):
            keys = {key for _, key in chosen}
            if any(smaller <= keys for smaller in enough):
                continue
            if _permitted(chosen, goal) and _without(root, capacity, name, size, chosen):
                enough.append(keys)
    return ("RECLAIMING" if enough else "PENDING"), enough


def _permitted(chosen: tuple[tuple[Leaf, str], ...], goal: Shares) -> bool:
    """Each leaf is above its target before the last of its allocations goes."""
    for leaf in {id(leaf): leaf for leaf, _ in chosen}.values():
        sizes = [leaf.units[key] for other, key in chosen if other is leaf]
        if leaf.used - (sum(sizes) - max(sizes)) <= goal[leaf.name]:
            return False
    return True


def _without(
    root: Leaf, capacity: int, name: str, size: int, chosen: tuple[tuple[Leaf, str], ...]
) -> bool:
    taken = [(leaf, key, leaf.units.pop(key)) for leaf, key in chosen]
    fine = fits(root, capacity, name, size)
    for leaf, key, amount in taken:
        leaf.units[key] = amount
    return fine
