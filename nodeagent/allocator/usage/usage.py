"""Usage rolled up along the tree: what each consumer weighs, reservations as standing demand.

`weight[r][i]` is what a leaf uses, or the sum of what the children of an inner node weigh upward.
A node weighs U = max(weight, hold) upward: a reserve that is not used counts as if it were.
Posting walks one path, so admission costs O(depth).
"""

from collections.abc import Sequence

from nodeagent.allocator.tree.deserved import Entitlement
from nodeagent.allocator.tree.tree import Tree

Pairs = Sequence[tuple[int, int]]
"""An allocation's vector as (resource index, amount) pairs."""


class Usage:
    """The usage of one group. `hold` and `cap` are those of its entitlements, by resource.

    `version` grows with every change of usage.
    """

    __slots__ = ("cap", "hold", "paths", "version", "weight")

    def __init__(self, tree: Tree, entitlements: Sequence[Entitlement]) -> None:
        self.paths = tree.paths
        self.version = 0
        self.hold = [entitlement.hold for entitlement in entitlements]
        self.cap = [entitlement.cap for entitlement in entitlements]
        self.weight = [_idle(tree, entitlement.hold) for entitlement in entitlements]

    def copy(self) -> "Usage":
        """Usage with the same usage that may be written without touching these."""
        twin = Usage.__new__(Usage)
        twin.version = 0
        twin.paths, twin.hold, twin.cap = self.paths, self.hold, self.cap
        twin.weight = [list(row) for row in self.weight]
        return twin

    def fits(self, leaf: int, pairs: Pairs) -> bool:
        """Whether every node from the leaf to the root stays within its cap with this on top."""
        path = self.paths[leaf]
        for resource, delta in pairs:
            weight, hold, cap = self.weight[resource], self.hold[resource], self.cap[resource]
            for node in path:
                old, floor = weight[node], hold[node]
                new = old + delta
                upward = new if new > floor else floor
                if upward > cap[node]:
                    return False
                delta = upward - (old if old > floor else floor)
        return True

    def post_if_fits(self, leaf: int, pairs: Pairs) -> bool:
        """Post a vector if it fits; one walk instead of two, for the case that it does."""
        self.version += 1
        path = self.paths[leaf]
        for count, (resource, delta) in enumerate(pairs):
            weight, hold, cap = self.weight[resource], self.hold[resource], self.cap[resource]
            for node in path:
                old, floor = weight[node], hold[node]
                new = weight[node] = old + delta
                if new < floor:
                    new = floor
                if new > cap[node]:
                    weight[node] = old
                    self._undo(path, node, resource, pairs[count][1])
                    self.post(leaf, pairs[:count], -1)
                    return False
                delta = new - (old if old > floor else floor)
        return True

    def _undo(self, path: tuple[int, ...], stop: int, resource: int, amount: int) -> None:
        """Take an amount off the nodes of a path before `stop`."""
        weight, hold = self.weight[resource], self.hold[resource]
        for node in path[: path.index(stop)]:
            old, floor = weight[node], hold[node]
            new = weight[node] = old - amount
            amount = max(old, floor) - max(new, floor)

    def post(self, leaf: int, pairs: Pairs, sign: int = 1) -> None:
        """Add the vector to the leaf and its ancestors, or take it away with sign -1."""
        self.version += 1
        path = self.paths[leaf]
        for resource, amount in pairs:
            weight, hold = self.weight[resource], self.hold[resource]
            delta = amount * sign
            for node in path:
                old, floor = weight[node], hold[node]
                new = weight[node] = old + delta
                delta = (new if new > floor else floor) - (old if old > floor else floor)
                if not delta:
                    break

    def upward(self, resource: int, node: int) -> int:
        """U: what a node weighs towards its parent."""
        return max(self.weight[resource][node], self.hold[resource][node])

    def room(self, leaf: int, resource: int) -> int:
        """The most of one resource that fits on a leaf now; never negative."""
        weight, hold, cap = self.weight[resource], self.hold[resource], self.cap[resource]
        absorbed, least = 0, None
        for node in self.paths[leaf]:
            absorbed += max(0, hold[node] - weight[node])
            free = cap[node] - max(weight[node], hold[node]) + absorbed
            least = free if least is None or free < least else least
        return max(0, least or 0)

    def crowded(self, leaf: int, pairs: Pairs) -> dict[int, list[int]]:
        """By resource, the nodes of the leaf's path that would exceed their cap with this."""
        found: dict[int, list[int]] = {}
        for resource, delta in pairs:
            weight, hold, cap = self.weight[resource], self.hold[resource], self.cap[resource]
            for node in self.paths[leaf]:
                new = max(weight[node] + delta, hold[node])
                if new > cap[node]:
                    found.setdefault(resource, []).append(node)
                delta = new - max(weight[node], hold[node])
        return found


def _idle(tree: Tree, hold: list[int]) -> list[int]:
    """The weights when nothing is used: inner nodes weigh the reserves below them."""
    weight = [0] * len(hold)
    for node in range(len(hold) - 1, 0, -1):
        weight[tree.parents[node]] += max(weight[node], hold[node])
    return weight
