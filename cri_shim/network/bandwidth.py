"""How fast a pod may receive and send: the annotations Kubernetes has for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from berth.base.errors import InvalidArgument

INGRESS = "kubernetes.io/ingress-bandwidth"
EGRESS = "kubernetes.io/egress-bandwidth"
_LEAST, _MOST = 1_000, 10**15
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([kMGTPE]i?|Ki|)\Z")
_SCALE = {"": 1, "k": 10**3} | {unit: 10 ** (3 * i) for i, unit in enumerate("MGTPE", 2)}
_SCALE |= {f"{unit}i": 1024**i for i, unit in enumerate("KMGTPE", 1)}


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bits per second; 0 is no limit. Ingress is what the pod receives."""

    ingress: int = 0
    egress: int = 0

    def __bool__(self) -> bool:
        return bool(self.ingress or self.egress)


def of(annotations: Mapping[str, str]) -> Bandwidth:
    """InvalidArgument names the annotation that is no rate."""
    return Bandwidth(_bits(INGRESS, annotations), _bits(EGRESS, annotations))


def _bits(key: str, annotations: Mapping[str, str]) -> int:
    if key not in annotations:
        return 0
    text = annotations[key]
    match = _QUANTITY.match(text.strip())
    rate = int(float(match[1]) * _SCALE[match[2]]) if match and match[2] in _SCALE else -1
    if not _LEAST <= rate <= _MOST:
        raise InvalidArgument(
            f"annotation {key}={text!r} is not a rate in bits per second from 1k to 1P, such as 10M"
        )
    return rate
