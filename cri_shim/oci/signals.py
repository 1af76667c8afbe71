"""Signals by name and number, and which one stops a container (signal(7), 64-bit Linux).

Real-time signals are counted from the kernel's 34 as the C library shows them: SIGRTMIN is 34,
SIGRTMAX 64. (The C library keeps the kernel's 32 and 33 for its threads.)
"""

import re

from berth.base.errors import InvalidArgument

_NUMBERED = """
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP
TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
"""
_NAMES = _NUMBERED.split()
_ALIASES = {"IOT": "ABRT", "CLD": "CHLD", "POLL": "IO", "UNUSED": "SYS"}
_NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)}
_RTMIN, _RTMAX = 34, 64
_REAL_TIME = re.compile(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?\Z")

DEFAULT = "SIGTERM"


def number(text: str) -> int:
    """Number of `SIGTERM`, `term`, `15`, `SIGRTMIN+3`; InvalidArgument for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= _RTMAX:
        return int(text)
    short = text.upper().removeprefix("SIG")
    short = _ALIASES.get(short, short)
    value = _NUMBERS.get(short) or _real_time(short)
    if value is None:
        raise InvalidArgument(
            f"{text!r} is not a signal: give a name such as SIGTERM or SIGRTMIN+3, or 1 to 64"
        )
    return value


def name(value: int) -> str:
    """The one name of a number, as CRI spells it (SIGRTMIN+n up to 15, then SIGRTMAX-n)."""
    if 1 <= value <= len(_NAMES):
        return f"SIG{_NAMES[value - 1]}"
    if not _RTMIN <= value <= _RTMAX:
        return f"SIG{value}"
    # Two names fit each real-time signal; CRI's enum counts up from the lower end to the middle.
    base, offset = ("RTMIN", value - _RTMIN) if value <= _RTMIN + 15 else ("RTMAX", value - _RTMAX)
    return f"SIG{base}{offset:+d}" if offset else f"SIG{base}"


def stop_signal(asked: str, image: str) -> str:
    """CRI's choice, else the image's, else SIGTERM; the name is checked here, at create."""
    return name(number(asked or image or DEFAULT))


def _real_time(short: str) -> int | None:
    match = _REAL_TIME.match(short)
    if not match:
        return None
    base = _RTMIN if match[1] == "MIN" else _RTMAX
    offset = int(match[3] or 0)
    value = base - offset if match[2] == "-" else base + offset
    return value if _RTMIN <= value <= _RTMAX else None
