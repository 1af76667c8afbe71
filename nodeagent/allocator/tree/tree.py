"""A consumer tree laid out in arrays: parents before children, so one pass rolls up or down."""

from collections.abc import Iterable
from dataclasses import dataclass

from nodeagent.allocator.plan.consumer import Consumer, Rebalance

ROOT = "/"
UNLIMITED = 1 << 200
"""Stands for "no bound": larger than any sum of quantities, and still a whole number."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Everything is by node number; node 0 is the root, parents come before children.

    `paths[i]` goes from node i up to the root, both included. `sticky[i]`: what children of node i
    hold above plan stays with them. `inner` and `leaves` are in tree order. `index` finds a node by
    its consumer's name. `orphans` are leaves that hold something though the plan in force does not
    name them as leaves.
    """

    consumers: tuple[Consumer, ...]
    parents: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...], ...]
    sticky: tuple[bool, ...]
    shares: tuple[int, ...]
    ranks: tuple[int, ...]
    leaves: tuple[int, ...]
    inner: tuple[int, ...]
    index: dict[str, int]
    orphans: frozenset[int]

    @property
    def names(self) -> tuple[str, ...]:
        """The consumers' names by node; the root's is `/`."""
        return tuple(consumer.name for consumer in self.consumers)

    def leaf(self, name: str) -> int | None:
        """The node of the leaf of that name; None for inner, orphaned and unknown consumers."""
        node = self.index.get(name)
        return None if node is None or self.children[node] or node in self.orphans else node

    def under(self, node: int) -> tuple[int, ...]:
        """The leaves under a node, itself if it is one."""
        return tuple(leaf for leaf in self.leaves if node in self.paths[leaf])


def grow(
    consumers: tuple[Consumer, ...], rebalance: Rebalance, orphans: Iterable[str] = ()
) -> Tree:
    """Lay out a consumer tree.

    `orphans` are consumers whose allocations outlived the plan that named them (semantics 2.1).
    They hang at the root, own and share nothing, and are the first to give back.
    """
    rows: list[tuple[Consumer, int, bool]] = []
    root = Consumer(name=ROOT, children=consumers)
    _lay(root, -1, rebalance is Rebalance.STICKY, rows)
    planned = len(rows)
    # Behind all planned nodes, whose numbers and order among equals they must not change. With
    # share 0 any excess of theirs compares as larger than everybody else's.
    rows += [(Consumer(name=name, share=0), 0, True) for name in sorted(orphans)]
    parents = tuple(row[1] for row in rows)
    children = _children(parents)
    return Tree(
        consumers=tuple(row[0] for row in rows),
        parents=parents,
        children=children,
        paths=_paths(parents),
        sticky=tuple(row[2] for row in rows),
        shares=tuple(row[0].share for row in rows),
        ranks=tuple(row[0].rank for row in rows),
        leaves=tuple(node for node, below in enumerate(children) if not below),
        inner=tuple(node for node, below in enumerate(children) if below),
        index={row[0].name: node for node, row in enumerate(rows)},
        orphans=frozenset(range(planned, len(rows))),
    )


def _lay(
    consumer: Consumer, parent: int, sticky: bool, rows: list[tuple[Consumer, int, bool]]
) -> None:
    if consumer.rebalance is not None:
        sticky = consumer.rebalance is Rebalance.STICKY
    node = len(rows)
    rows.append((consumer, parent, sticky))
    for child in consumer.children:
        _lay(child, node, sticky, rows)


def _children(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    below: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents):
        if parent >= 0:
            below[parent].append(node)
    return tuple(tuple(nodes) for nodes in below)


def _paths(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    paths: list[tuple[int, ...]] = []
    for node, parent in enumerate(parents):
        paths.append((node,) if parent < 0 else (node, *paths[parent]))
    return tuple(paths)
