"""Names of CDI devices: `vendor.com/class=device`, and where containers name them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from berth.base.errors import InvalidArgument

ANNOTATION_PREFIX = "cdi.k8s.io/"

# As the CDI specification has them. \Z, for $ takes a line break at the end.
_PART = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?\Z", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class QualifiedName:
    """`kind` is `vendor/class`."""

    kind: str
    device: str

    def __str__(self) -> str:
        return f"{self.kind}={self.device}"


def check_kind(text: str, where: str) -> str:
    """`vendor/class`; InvalidArgument names the part that is wrong."""
    vendor, slash, class_ = text.partition("/")
    if not slash or not _PART.match(vendor) or not _PART.match(class_):
        raise InvalidArgument(
            f"{where} {text!r} is not vendor/class: each part begins with a letter, ends with a "
            "letter or digit, and holds letters, digits, dots, dashes and underscores"
        )
    return text


def check_device(text: str, where: str) -> str:
    """The part after `=`."""
    if not _DEVICE.match(text):
        raise InvalidArgument(
            f"{where} {text!r} is not a CDI device name: it begins and ends with a letter or "
            "digit, and holds letters, digits, dots, dashes, underscores and colons"
        )
    return text


def parse(text: str, where: str = "CDI device") -> QualifiedName:
    """A fully qualified name; InvalidArgument if it is none."""
    kind, equals, device = text.partition("=")
    if not equals:
        raise InvalidArgument(f"{where} {text!r} is not vendor/class=device")
    return QualifiedName(check_kind(kind, where), check_device(device, where))


def requested(fields: Iterable[str], annotations: Mapping[str, str]) -> tuple[QualifiedName, ...]:
    """Devices that a container names: in CRI's field, then in annotations, each once.

    Annotations are those with keys below `cdi.k8s.io/`; values are lists with commas. Newer
    kubelets fill the field, older ones and some device plugins know annotations only: a device
    may come by both.
    """
    found = [parse(name, "config.CDI_devices") for name in fields]
    for key, value in annotations.items():
        if key.startswith(ANNOTATION_PREFIX):
            found += [parse(name, f"annotation {key}") for name in value.split(",")]
    return tuple(dict.fromkeys(found))
