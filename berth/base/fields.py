"""Typed reading of a JSON object from elsewhere: each error names the field."""

from typing import Any

from berth.base.errors import InvalidArgument

ANY = "*"


class Fields:
    """One object; a field that is not in `allowed` (names with blanks between, or ANY) is an error.

    Absent and null are one, as in Go's JSON, where most of these documents come from.
    """

    __slots__ = ("_found", "_where")

    def __init__(self, value: object, where: str, allowed: str) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument(f"{where} is not an object")
        unknown = [str(key) for key in value if key not in allowed.split()]
        if unknown and allowed != ANY:
            raise InvalidArgument(f"{where} has unknown fields: {', '.join(unknown)}")
        self._found: dict[Any, object] = value
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._found.get(name) is not None

    def place(self, name: str) -> str:
        """The field's path for an error: `/etc/cdi/a.json.devices[0].name`."""
        return f"{self._where}.{name}"

    def text(self, name: str, *, needed: bool = False) -> str:
        """A string; "" where it is absent and not needed."""
        value = self._found.get(name)
        if value is None or value == "":
            if needed:
                raise InvalidArgument(f"{self.place(name)} is empty")
            return ""
        return _text(value, self.place(name))

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`; None where it is absent."""
        value = self._found.get(name)
        return None if value is None else _integer(value, self.place(name), low, high)

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty where it is absent."""
        return tuple(_text(item, self.place(name)) for item in self._list(name))

    def integers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers; empty where it is absent."""
        return tuple(_integer(n, self.place(name), low, high) for n in self._list(name))

    def inner(self, name: str, allowed: str) -> "Fields":
        """The object below; an absent one reads as empty."""
        value = self._found.get(name)
        return Fields({} if value is None else value, self.place(name), allowed)

    def objects(self, name: str, allowed: str) -> list["Fields"]:
        """A list of objects; empty where it is absent."""
        return [
            Fields(value, f"{self.place(name)}[{i}]", allowed)
            for i, value in enumerate(self._list(name))
        ]

    def texts(self, name: str) -> dict[str, str]:
        """An object of strings; empty where it is absent."""
        value = self._found.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidArgument(f"{self.place(name)} is not an object")
        place = self.place(name)
        return {_text(key, place): _text(text, place) for key, text in value.items()}

    def _list(self, name: str) -> list[object]:
        value = self._found.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise InvalidArgument(f"{self.place(name)} is not a list")
        return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{where} is not a string")
    # JSON can say both, and no path, argument or environment that the kernel takes can.
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidArgument(f"{where} has a NUL byte or a code point that is no character")
    return value


def _integer(value: object, where: str, low: int, high: int) -> int:
    # A bool is an int to Python and not to JSON.
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{where} is not a whole number")
    if not low <= value <= high:
        raise InvalidArgument(f"{where} must lie in {low} to {high}")
    return value
