"""One-time tokens: the right to one granted request, for a minute.

The streaming port asks for no credentials, so a URL must not be worth anything to a reader
of logs or process lists: it is spent by its first use and dies within the minute that
kubelet needs at most. The request stands in the table and not in the URL, so that nothing in a URL
can be changed into another command.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from berth.base.errors import ResourceExhausted
from cri_shim.streaming.requests import StreamRequest


@dataclass(frozen=True, slots=True)
class _Grant:
    request: StreamRequest
    expires: float


class TokenTable:
    """A bounded table. `clock` gives seconds that never go back."""

    def __init__(self, capacity: int, lifetime: float, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._lifetime = lifetime
        self._clock = clock
        self._grants: dict[str, _Grant] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def insert(self, request: StreamRequest) -> str:
        """A new token of 128 random bits; ResourceExhausted while the table is full."""
        # A full table refuses the newcomer: dropping the oldest would let one caller of Exec end
        # the requests of all others.
        self._forget_expired()
        if len(self._grants) >= self._capacity:
            raise ResourceExhausted(
                f"{len(self._grants)} exec, attach and port-forward requests wait for their "
                f"client: try again in up to {self._lifetime:.0f} s"
            )
        # 128 bits of the kernel's random source. They are looked up by a keyed hash: there is no
        # comparison byte by byte that could be timed.
        token = secrets.token_urlsafe(16)
        self._grants[token] = _Grant(request, self._clock() + self._lifetime)
        return token

    def take(self, token: str) -> StreamRequest | None:
        """The request, once; None for a token that is unknown, used or too old."""
        self._forget_expired()
        grant = self._grants.pop(token, None)
        return grant.request if grant else None

    def _forget_expired(self) -> None:
        """All live equally long, so the oldest are in front."""
        now = self._clock()
        while self._grants:
            oldest = next(iter(self._grants))
            if self._grants[oldest].expires > now:
                return
            del self._grants[oldest]
