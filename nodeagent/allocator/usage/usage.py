"""Usage rolled up along the tree (semantics 2.3): reserves count as if they were used.

`weight[r][i]` is what a leaf uses, or for an inner node the sum of U over its children, where
U = max(weight, hold). So growth inside a reserve changes nothing above it, and a reserve cannot be
lent away at a level where only its sum is seen. Posting walks one path: admission costs O(depth).
"""

from collections.abc import Sequence

from nodeagent.allocator.tree.deserved import Entitlement
from nodeagent.allocator.tree.tree import Tree

Pairs = Sequence[tuple[int, int]]
"""A vector as (resource index, amount) pairs."""


# A reserve at work: B, with a reserve of 4, below A, capacity 10. Weights after each step:
#
#                            B    U(B)    A    U(A)
#    nothing runs            0      4     4      4     the reserve weighs as if used
#    B gets 3                3      4     4      4     inside the reserve: nothing changes above
#    B gets 3 more           6      6     6      6     2 of the 3 go up
#
# So `post` passes on to the parent only by how much U has grown, and stops when that is nothing.


class Usage:
    """The usage of one group.

    `weight`, `hold` and `cap` are by resource, then by node; the last two are those of the
    entitlements. `version` grows with every write, so that what was derived can be told stale.
    """

    __slots__ = ("cap", "hold", "paths", "version", "weight")

    def __init__(self, tree: Tree, entitlements: Sequence[Entitlement]) -> None:
        self.paths = tree.paths
        self.version = 0
        self.hold = [entitlement.hold for entitlement in entitlements]
        self.cap = [entitlement.cap for entitlement in entitlements]
        self.weight = [_idle(tree, entitlement.hold) for entitlement in entitlements]

    def copy(self) -> "Usage":
        """The same usage, to be changed without changing this one."""
        twin = Usage.__new__(Usage)
        twin.version = 0
        # Shared: nobody writes them. A trial copies the weights alone, a list copy a resource.
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
                # Inside a reserve the growth is already counted above; only the rest goes up.
                delta = upward - (old if old > floor else floor)
        return True

    def post_if_fits(self, leaf: int, pairs: Pairs) -> bool:
        """Post a vector if it fits, else change nothing.

        One walk instead of `fits` and `post`: an admission that fits is what happens most.
        """
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
                    # Neither this node nor those above it, nor later resources, were written yet.
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

    def headroom(self, leaf: int, resource: int) -> int:
        """The most of one resource that fits on a leaf; never negative.

        Each unused reserve on the path absorbs growth before the nodes above see any of it.
        """
        weight, hold, cap = self.weight[resource], self.hold[resource], self.cap[resource]
        absorbed, least = 0, None
        for node in self.paths[leaf]:
            absorbed += max(0, hold[node] - weight[node])
            free = cap[node] - max(weight[node], hold[node]) + absorbed
            least = free if least is None or free < least else least
        return max(0, least or 0)

    def exceeded(self, leaf: int, pairs: Pairs) -> dict[int, list[int]]:
        """By resource, the nodes of the leaf's path that this would lift above their cap."""
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
    """The weights when nothing is used: inner nodes carry the reserves below them."""
    weight = [0] * len(hold)
    for node in range(len(hold) - 1, 0, -1):
        weight[tree.parents[node]] += max(weight[node], hold[node])
    return weight
