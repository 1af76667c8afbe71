"""The store: one SQLite file, one writer, one picture for readers.

Durability. A pod does not outlive a boot, so its record need not reach the disk before the call
returns: it must survive `kill -9` of the daemon, which the page cache does (WAL, synchronous
NORMAL). What outlives a boot (images, leases of other programs) asks for `durable`.

Changes. A record is never written back from a copy: between reading a copy and writing it lies an
await, and what another call has entered meanwhile would be lost (two StopPodSandbox at once of an
admitted pod made the second one fail that way). So a change is a function from the record as it is
now to the next one.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.base.errors import AlreadyExists, NotFound
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId, SandboxId
from cri_shim.model.lifecycle import check_container_move, check_sandbox_move
from cri_shim.model.sandbox import Sandbox
from cri_shim.store.codec import (
    container_document,
    container_from,
    sandbox_document,
    sandbox_from,
)
from cri_shim.store.documents import DocumentTable
from cri_shim.store.migrations import migrate
from cri_shim.store.view import View


class Store:
    """All records. Every method is called from the event loop's thread, and none awaits."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; FailedPrecondition if a newer version wrote it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Autocommit: each statement is its own transaction unless `transaction` groups several.
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        # WAL: a commit is one append, without the two syncs of a rollback journal. A killed daemon
        # loses nothing, for what was written is in the page cache; see above for a power cut.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        # In KiB. All rows are in `view`: what SQLite keeps beside them serves writes alone.
        self._db.execute("PRAGMA cache_size = -512")
        migrate(self._db, str(path))
        self.broken: list[tuple[str, str]] = []
        """Rows that could not be read: (id, why); kept on disk, left out of the view."""
        self.view = self._load()

    def close(self) -> None:
        self._db.close()

    def documents(self, kind: str) -> DocumentTable:
        return DocumentTable(self._db, kind)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Group statements: all or none."""
        # IMMEDIATE takes the write lock now: a deferred one fails half way where it has to upgrade.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_sandbox(self, sandbox: Sandbox) -> None:
        """A new record; AlreadyExists if its name (name, namespace, uid, attempt) is taken."""
        row = (
            sandbox.id, sandbox.spec.metadata.unique, sandbox.state.value,
            sandbox_document(sandbox), sandbox.config,
        )  # fmt: skip
        # The constraint of the table decides, not a look before: it holds across kills as well.
        try:
            self._db.execute("INSERT INTO sandboxes VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AlreadyExists(
                f"pod {sandbox.name} (uid {sandbox.spec.metadata.uid}, attempt "
                f"{sandbox.spec.metadata.attempt}) exists already: remove it first"
            ) from None
        self._show_sandbox(sandbox)

    def update_sandbox(self, id_: SandboxId, change: Callable[[Sandbox], Sandbox]) -> Sandbox:
        """Change a record: `change` gets it as it is now and returns the next one, returned here.

        NotFound if it is gone; a move of its state must be in the table. `change` runs at once, in
        this call: no await lies between its reading and its writing.
        """
        now = self.view.sandboxes.get(id_)
        if now is None:
            # A caller that holds the record's lock does not get here.
            raise NotFound(f"pod sandbox {id_[:12]} has been removed meanwhile")
        sandbox = change(now)
        if sandbox == now:
            return now
        if now.state is not sandbox.state:
            check_sandbox_move(now.state, sandbox.state, sandbox.name)
        self._db.execute(
            "UPDATE sandboxes SET state = ?, document = ? WHERE id = ?",
            (sandbox.state.value, sandbox_document(sandbox), sandbox.id),
        )
        self._show_sandbox(sandbox)
        return sandbox

    def delete_sandbox(self, id_: SandboxId) -> None:
        self._db.execute("DELETE FROM sandboxes WHERE id = ?", (id_,))
        sandboxes = {k: v for k, v in self.view.sandboxes.items() if k != id_}
        self.view = View(sandboxes, self.view.containers, self.view.by_sandbox)

    def add_container(self, container: Container) -> None:
        """A new record; AlreadyExists if the pod has that name and attempt already."""
        row = (
            container.id, container.sandbox_id, _unique(container), container.state.value,
            container_document(container), container.config,
        )  # fmt: skip
        try:
            self._db.execute("INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AlreadyExists(
                f"container {container.name} attempt {container.spec.attempt} exists already "
                f"in pod {container.sandbox_id[:12]}: remove it first"
            ) from None
        self._show_container(container)

    def update_container(
        self, id_: ContainerId, change: Callable[[Container], Container]
    ) -> Container:
        """Change a record: `change` gets it as it is now and returns the next one, returned here.

        NotFound if it is gone; a move of its state must be in the table.
        """
        now = self.view.containers.get(id_)
        if now is None:
            raise NotFound(f"container {id_[:12]} has been removed meanwhile")
        container = change(now)
        if container == now:
            return now
        if now.state is not container.state:
            check_container_move(now.state, container.state, container.name)
        self._db.execute(
            "UPDATE containers SET state = ?, document = ? WHERE id = ?",
            (container.state.value, container_document(container), container.id),
        )
        self._show_container(container)
        return container

    def delete_container(self, id_: ContainerId) -> None:
        self._db.execute("DELETE FROM containers WHERE id = ?", (id_,))
        gone = self.view.containers.get(id_)
        if gone is None:
            return
        containers = {k: v for k, v in self.view.containers.items() if k != id_}
        of_pod = {k: v for k, v in self.view.containers_of(gone.sandbox_id).items() if k != id_}
        by_sandbox = {**self.view.by_sandbox, gone.sandbox_id: of_pod}
        if not of_pod:
            del by_sandbox[gone.sandbox_id]
        self.view = View(self.view.sandboxes, containers, by_sandbox)

    # A view is shared by whoever reads it, so each change makes new mappings. Copying a few hundred
    # references takes microseconds; persistent maps would cost every reader more than that.

    def _show_sandbox(self, sandbox: Sandbox) -> None:
        sandboxes = {**self.view.sandboxes, sandbox.id: sandbox}
        self.view = View(sandboxes, self.view.containers, self.view.by_sandbox)

    def _show_container(self, container: Container) -> None:
        of_pod = {**self.view.containers_of(container.sandbox_id), container.id: container}
        self.view = View(
            self.view.sandboxes,
            {**self.view.containers, container.id: container},
            {**self.view.by_sandbox, container.sandbox_id: of_pod},
        )

    def _load(self) -> View:
        sandboxes: dict[SandboxId, Sandbox] = {}
        containers: dict[ContainerId, Container] = {}
        by_sandbox: dict[SandboxId, dict[ContainerId, Container]] = {}
        # Decoded once, at the start; from then on the view is what everybody reads.
        for row in self._db.execute("SELECT id, state, document, config FROM sandboxes"):
            try:
                sandboxes[row[0]] = sandbox_from(*row)
            except Exception as error:  # one bad row must not stop a node
                self.broken.append((row[0], f"sandbox record: {error}"))
        query = "SELECT id, sandbox_id, state, document, config FROM containers"
        for row in self._db.execute(query):
            try:
                container = container_from(*row)
            except Exception as error:  # one bad row must not stop a node
                self.broken.append((row[0], f"container record: {error}"))
                continue
            containers[container.id] = container
            by_sandbox.setdefault(container.sandbox_id, {})[container.id] = container
        return View(sandboxes, containers, by_sandbox)

    def forget_broken(self, id_: str) -> None:
        """Drop a row that could not be read, once what it left is cleaned up."""
        self._db.execute("DELETE FROM sandboxes WHERE id = ?", (id_,))
        self._db.execute("DELETE FROM containers WHERE id = ?", (id_,))


def _unique(container: Container) -> str:
    return f"{container.spec.name}_{container.spec.attempt}"
