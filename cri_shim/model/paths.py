"""Paths as the kernel takes them."""

from berth.base.errors import InvalidArgument

LONGEST_NAME = 255
"""Bytes of one name in a path (limits.h, NAME_MAX)."""
LONGEST_PATH = 4095
"""Bytes of a path (limits.h, PATH_MAX, which counts the closing NUL)."""


def check_path(text: str, where: str) -> str:
    """Refuse what no file can be called; answer the text unchanged."""
    if "\0" in text:
        raise InvalidArgument(f"{where} has a NUL byte")
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > LONGEST_PATH:
        raise InvalidArgument(f"{where} is longer than {LONGEST_PATH} bytes")
    if any(len(name) > LONGEST_NAME for name in data.split(b"/")):
        raise InvalidArgument(f"{where} has a name longer than {LONGEST_NAME} bytes")
    return text
