"""Plans: from the plan file when it changes, and from clients that apply one.

A bad one is refused whole and the plan in force stays. The last one wins, be it file or client: the
journal keeps the digest of the file last put in force, so that a restart does not put an unchanged
file over a plan that was applied after it.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.base.quantity import Vector
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan.plan_reading import (
    API_VERSION,
    KIND,
    Zones,
    check_capacity,
    parse_plan,
)
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.plan_change import check_policies
from nodeagent.allocator.values.operation import ApplyPlan, SetCapacity
from nodeagent.duties.capacity import group_capacities
from nodeagent.ledger.ledger import Ledger
from nodeagent.ledger.records import InitialPlan
from nodeagent.plan_files import read_yaml, read_yaml_file

log = logging.getLogger(__name__)

# Polled, since a watch would miss the changes that matter: editors rename a new file over the old
# one, and kubelet changes a mounted ConfigMap by renaming a symbolic link above it. stat(2) follows
# both.
POLL_SECONDS = 1.0
SINGLE: Mapping[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "single"},
    "spec": {
        "groups": [
            {
                "name": "default",
                "windows": [{"when": "always", "consumers": [{"name": "default"}]}],
            }
        ]
    },
}
"""The plan of a node without a plan file: one consumer may have everything."""


class Plans:
    """What the node has (`whole`, with overrides and slices) and the plan file to follow."""

    def __init__(
        self,
        file: Path,
        zones: Zones,
        whole: Vector,
        overrides: Vector,
        slices: Mapping[str, Vector],
    ) -> None:
        self._file = file
        self._zones = zones
        self._whole = whole
        self._overrides = overrides
        self._slices = slices
        # Before the file is read for the first time: a change in between is then seen as one.
        self._seen = self._fingerprint()

    def initial(self, policies: Mapping[str, Any]) -> InitialPlan:
        """What a node without a journal begins with. Raises DocumentRefused."""
        present = self._file.exists()
        document = read_yaml_file(self._file) if present else SINGLE
        plan = parse_plan(document, self._zones)
        capacity = self._capacities(plan)
        check_capacity(plan, capacity)
        check_policies(plan, policies)
        return InitialPlan(plan, capacity, self._digest() if present else "")

    async def apply(self, ledger: Ledger, text: str) -> str:
        """Put a document in force; its name. Raises DocumentRefused, then nothing changed."""
        # With the digest of the file as it is known: to this file, the document is the newer one.
        await self._put_in_force(ledger, read_yaml(text, "plan"), ledger.state.plan_digest)
        return ledger.allocator.plan.name

    async def follow(self, ledger: Ledger) -> None:
        """Reload the plan file whenever it changes; the work of one background task."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if (found := self._fingerprint()) != self._seen:
                self._seen = found
                await self.reload(ledger)

    async def reload(self, ledger: Ledger) -> bool:
        """Put the plan file in force if its content is new, and set the capacities.

        False if it was refused: the reasons are logged. A file that is gone changes nothing.
        """
        try:
            digest = self._digest()
            if digest not in ("", ledger.state.plan_digest):
                await self._put_in_force(ledger, read_yaml_file(self._file), digest)
                log.info("plan %s of %s is in force", ledger.allocator.plan.name, self._file)
        except DocumentRefused as refused:
            log.error("%s is refused, the plan in force stays:\n%s", self._file, refused)
            return False
        await self._set_capacities(ledger)
        return True

    async def _put_in_force(self, ledger: Ledger, document: Any, digest: str) -> None:
        # In one operation with the plan: until its slice came, a new group would have nothing, and
        # the first group more than it keeps.
        capacities = self._capacities(parse_plan(document, self._zones))
        await ledger.apply(ApplyPlan(document, capacities), plan_digest=digest)

    async def _set_capacities(self, ledger: Ledger) -> None:
        for name, vector in self._capacities(ledger.allocator.plan).items():
            if dict(ledger.allocator.pools[name].allocatable) != vector:
                await ledger.apply(SetCapacity(vector, name))

    def _capacities(self, plan: Plan) -> dict[str, dict[str, int]]:
        groups = [group.name for group in plan.groups]
        return group_capacities(groups, self._whole, self._overrides, self._slices)

    def _fingerprint(self) -> tuple[int, ...]:
        """Differs when the file may have changed; empty while there is none."""
        try:
            found = self._file.stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _digest(self) -> str:
        """SHA-256 of the file's content; empty if it cannot be read."""
        try:
            return hashlib.sha256(self._file.read_bytes()).hexdigest()
        except OSError:
            return ""
