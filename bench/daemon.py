"""A cri-shim with one image, for a benchmark."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import busybox
from tests.support.image import layout_files, write_directory
from tests.support.shim import Shim, running

IMAGE = "example.org/busybox:1"


@contextlib.contextmanager
def daemon(kind: str) -> Iterator[Shim]:
    """Serves with the OCI runtime `kind` in a directory of its own; nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as name:
        directory, built = Path(name), busybox.image()
        layout = write_directory(directory / "layout", layout_files([built], [built.described()]))
        with running(directory / "shim", {"runtime.handlers.default.type": kind}) as shim:
            shim.load(layout, IMAGE)
            yield shim
