"""Overlay mounts: any number of layers by the new mount API, one page of options by the old.

mount(2) takes all options as one text of at most a page, which some dozens of layers fill.
fsconfig(2) takes one layer at a time (`lowerdir+`, since Linux 6.8); older kernels get mount(2).
How these say no differs: from 6.5 on overlay parses each option as it comes and refuses the
unknown one; before, the kernel collects options of any name in a page and refuses all at the end.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from berth.linux import syscalls
from berth.linux.syscalls import Config

_VALUE = 255
"""The longest value that fsconfig(2) takes, in bytes; longer paths go by a descriptor."""
_PAGE = os.sysconf("SC_PAGE_SIZE")

Setting = tuple[str, str | None]
"""A key and its value; None for a flag such as `volatile`."""


def overlay(
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    target: str,
    volatile: bool = True,
    options: Sequence[str] = (),
) -> None:
    """Mount `lowers` (uppermost first) as one tree, writable where `upper` and `work` are given.

    `volatile` leaves out every sync of the upper layer; the kernel refuses to mount such an upper
    again after a crash, until `work`/work/incompat/volatile is removed. `options` are those of
    overlayfs, such as `metacopy=off`. OSError gives the kernel's own reason where it says one.
    """
    settings = _settings(upper, work, volatile, options)
    writable = upper is not None
    try:
        _mount_new(lowers, settings, target, writable)
    except _NoLayerKeyError:
        _mount_old(lowers, settings, target, writable)
    except OSError as error:
        if error.errno != errno.EINVAL or not _takes_any_option():
            raise
        _mount_old(lowers, settings, target, writable)


class _NoLayerKeyError(Exception):
    """This kernel does not know `lowerdir+`, and says so."""


def _takes_any_option() -> bool:
    """Whether overlay options are only collected here, unknown ones too (before Linux 6.5)."""
    context = syscalls.fsopen("overlay")
    try:
        syscalls.fsconfig(context, Config.SET_FLAG, "berth-unknown", None)
    except OSError:
        return False
    finally:
        os.close(context)
    return True


def _settings(
    upper: str | None, work: str | None, volatile: bool, options: Sequence[str]
) -> list[Setting]:
    settings: list[Setting] = []
    if upper is not None:
        if work is None:
            raise ValueError(f"overlay with upper layer {upper} needs a work directory")
        settings += [("upperdir", upper), ("workdir", work)]
        settings += [("volatile", None)] if volatile else []
    for option in options:
        key, found, value = option.partition("=")
        settings.append((key, value if found else None))
    return settings


def _mount_new(
    lowers: Sequence[str], settings: Sequence[Setting], target: str, writable: bool
) -> None:
    context = syscalls.fsopen("overlay")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, context)
        # Only shown in the mount table; without it the kernel writes `none` there.
        syscalls.fsconfig(context, Config.SET_STRING, "source", "overlay")
        with _explained(context, target):
            for index, lower in enumerate(lowers):
                _add_layer(context, stack.enter_context(_short(lower)), first=index == 0)
            for key, value in settings:
                if value is None:
                    syscalls.fsconfig(context, Config.SET_FLAG, key, None)
                else:
                    # upperdir and workdir are paths, and may be too long as layers may.
                    short = stack.enter_context(_short(value)) if "dir" in key else value
                    syscalls.fsconfig(context, Config.SET_STRING, key, short)
            if not writable:
                syscalls.fsconfig(context, Config.SET_FLAG, "ro", None)
            syscalls.fsconfig(context, Config.CMD_CREATE, None, None)
        # Not in the tree before `move_mount`: a kill -9 up to here leaves no mount.
        # In no tree before `move_mount`: a kill -9 up to there leaves nothing.
        tree = syscalls.fsmount(context)
        stack.callback(os.close, tree)
        syscalls.move_mount(tree, target)


def _add_layer(context: int, lower: str, first: bool) -> None:
    try:
        syscalls.fsconfig(context, Config.SET_STRING, "lowerdir+", lower)
    except OSError as error:
        # EINVAL also says that `lower` is no directory.
        if first and error.errno == errno.EINVAL and os.path.isdir(lower):
            raise _NoLayerKeyError from error
        raise


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """A path of the directory that fits into a value: its own, or one by an open descriptor.

    The kernel follows it when the layer is set, so the descriptor may close after the mount.
    """
    if len(os.fsencode(path)) <= _VALUE:
        yield path
        return
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextlib.contextmanager
def _explained(context: int, target: str) -> Iterator[None]:
    """Put what the kernel logged in the context into the error."""
    try:
        yield
    except OSError as error:
        said = _log(context)
        reason = f"{error.strerror} ({said})" if said else error.strerror
        raise OSError(error.errno, f"overlay: {reason}", error.filename, None, target) from None


def _log(context: int) -> str:
    """Messages of a filesystem context, one a read: `e overlay: upper fs ...`."""
    lines = []
    with contextlib.suppress(OSError):
        while line := os.read(context, 1024):  # ENODATA after the last one
            lines.append(line.decode(errors="replace").strip()[2:])
    return "; ".join(lines)


def _mount_old(
    lowers: Sequence[str], settings: Sequence[Setting], target: str, writable: bool
) -> None:
    data = legacy_options(lowers, settings)
    if len(os.fsencode(data)) >= _PAGE:
        raise OSError(
            errno.E2BIG,
            f"overlay of {len(lowers)} layers needs {len(data)} bytes of mount options, this "
            f"kernel takes {_PAGE - 1}: use Linux 6.8 or newer, or an image with fewer layers",
            target,
        )
    syscalls.mount("overlay", target, "overlay", 0 if writable else 1, data)


def legacy_options(lowers: Sequence[str], settings: Sequence[Setting]) -> str:
    """The option text for mount(2), with colons and commas in names escaped."""
    options = ["lowerdir=" + ":".join(_escape(lower) for lower in lowers)]
    for key, value in settings:
        options.append(key if value is None else f"{key}={_escape(value)}")
    return ",".join(options)


def _escape(path: str) -> str:
    # Overlay splits at colons and mount(2) at commas; fsconfig(2) takes values as they are.
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
