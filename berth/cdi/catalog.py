"""All CDI devices of a host, as read from its directories.

Where several files describe a device, that of the more important directory counts: by default
/var/run/cdi, which programs write at run time, overrides /etc/cdi. Within one directory it is a
conflict, and the device cannot be used.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from berth.base.errors import InvalidArgument
from berth.cdi.edits import Edits
from berth.cdi.names import QualifiedName
from berth.cdi.spec import Spec, parse


@dataclass(frozen=True, slots=True)
class SpecFile:
    """`priority` is the index of its directory: a later directory wins."""

    path: str
    priority: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class Catalog:
    """`errors` has the reason for each file that could not be read.

    Such a file makes its own devices unknown and no others: a vendor's broken file must not stop
    the pods of another.
    """

    directories: tuple[str, ...] = ()
    files: tuple[SpecFile, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def build(cls, directories: Sequence[str], files: Iterable[tuple[str, bytes]]) -> "Catalog":
        """From paths and contents. Directories go from the least to the most important."""
        order = {posixpath.normpath(path): index for index, path in enumerate(directories)}
        found, errors = [], {}
        for path, data in files:
            try:
                spec = parse(data, path)
            except InvalidArgument as error:
                errors[path] = str(error)
                continue
            found.append(SpecFile(path, order.get(posixpath.dirname(path), -1), spec))
        return cls(tuple(directories), tuple(found), errors)

    def resolve(self, names: Iterable[QualifiedName]) -> Edits:
        """What these devices change together; each file's own edits come once, before its devices.

        InvalidArgument for a device that no file has, or that two files of one directory have.
        """
        edits, used = Edits(), set()
        for name in names:
            file = self._file(name)
            # A file's own edits (a driver's libraries) are needed once, however many of its
            # devices the container has.
            if file.path not in used:
                used.add(file.path)
                edits = edits.joined(file.spec.edits)
            device = file.spec.device(name.device)
            edits = edits.joined(device.edits if device else Edits())
        return edits

    def _file(self, name: QualifiedName) -> SpecFile:
        found = [
            file
            for file in self.files
            if file.spec.kind == name.kind and file.spec.device(name.device)
        ]
        if not found:
            raise InvalidArgument(self._missing(name))
        best = max(file.priority for file in found)
        winners = [file for file in found if file.priority == best]
        if len(winners) > 1:
            raise InvalidArgument(
                f"CDI device {name} is in conflict: {' and '.join(f.path for f in winners)} "
                "both have it; remove one"
            )
        return winners[0]

    def _missing(self, name: QualifiedName) -> str:
        text = f"CDI device {name} is not known; read were {', '.join(self.directories) or 'none'}"
        if self.errors:
            text += f"; not understood: {'; '.join(self.errors.values())}"
        return text
