"""The container whose PID namespace another one joins (mode TARGET, as for `kubectl debug`)."""

import contextlib
import os
import select
from collections.abc import Iterator

from berth.base.errors import FailedPrecondition, InvalidArgument, NotFound, RuntimeFailure
from berth.linux import processes
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.namespaces import NamespaceMode

FIELD = "config.linux.security_context.namespace_options.target_id"


def target(ctx: Context, container: Container) -> Container | None:
    """The running container of the same pod; None where this one joins nobody's namespace.

    InvalidArgument if there is no such container, FailedPrecondition if it does not run.
    """
    options = container.spec.security.namespaces
    if options.pid is not NamespaceMode.TARGET:
        return None
    try:
        found = ctx.store.view.container(options.target_id)
    except NotFound as error:
        raise InvalidArgument(f"{FIELD}: {error}") from None
    if found.sandbox_id != container.sandbox_id:
        raise InvalidArgument(f"{FIELD}: container {found.id} is of another pod")
    # A created one has a process as well, but the OCI runtime's own: joining it would show the
    # runtime's files to the container.
    if found.state is not ContainerState.RUNNING:
        raise _not_running(found, found.state.value)
    return found


@contextlib.contextmanager
def held(ctx: Context, container: Container) -> Iterator[None]:
    """The target, if there is one, ran all the time: its number was nobody else's meanwhile.

    FailedPrecondition at the begin or at the end, if not; also in place of what the OCI runtime
    said of a namespace that had gone.
    """
    found = target(ctx, container)
    if found is None:
        yield
        return
    # The OCI document names the namespace by /proc/PID. Were the target to end while the container
    # is made, its number could be another process's, and the container be in that one's namespace.
    # A pidfd does not keep the number, but it tells afterwards whether the process was there.
    pidfd = processes.open_pidfd(found.pid, found.pid_start)
    if pidfd is None:
        raise _not_running(found, "ending")
    try:
        yield
        if _ended(pidfd):
            raise _not_running(found, "ending")
    except RuntimeFailure as error:
        if _ended(pidfd):
            raise _not_running(found, "ending") from error
        raise
    finally:
        os.close(pidfd)


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _not_running(found: Container, state: str) -> FailedPrecondition:
    return FailedPrecondition(f"{FIELD}: container {found.name} is {state}, and it must run")
