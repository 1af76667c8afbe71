"""Names in a requirement: which are reserved, and how any other name is written."""

import re

SECTIONS = ("select", "order", "rusage", "affinity", "antiaffinity", "span", "same")
RESERVED = frozenset((*SECTIONS, "in", "true", "false", "defined", "duration", "decay"))
"""What means something by itself; as a name of an attribute it stands in backquotes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(?:[/-](?:[A-Za-z_][A-Za-z0-9_.]*|[0-9]+[A-Za-z]*))*\Z")


def written(name: str) -> str:
    """A name inside an expression, where `/` and `-` are operators."""
    return name if _NAME.match(name) and name not in RESERVED else f"`{name}`"


def written_key(name: str) -> str:
    """A name inside another section, as in `nvidia.com/gpu`."""
    return name if _KEY.match(name) and name not in RESERVED else f"`{name}`"
