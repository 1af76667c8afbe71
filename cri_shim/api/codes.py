"""The one table from class of error to gRPC code, and the edge around every call."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from berth.base import errors

log = logging.getLogger("cri_shim.api")

# RuntimeFailure is UNKNOWN, as a plain error is in runtimes written in Go. kubelet tells few codes
# apart (NotFound, DeadlineExceeded, Unimplemented) and repeats everything else.
CODES: dict[type[errors.BerthError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.RuntimeFailure: grpc.StatusCode.UNKNOWN,
}

QUIET = frozenset(
    {
        "Version", "Status", "ListPodSandbox", "ListContainers", "PodSandboxStatus",
        "ContainerStatus", "ListImages", "ImageStatus", "ImageFsInfo", "ContainerStats",
        "ListContainerStats", "PodSandboxStats", "ListPodSandboxStats", "ListPodSandboxMetrics",
    }
)  # fmt: skip
"""Calls that the kubelet repeats every second: logged at debug only."""

Method = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]
Verb = Callable[[Any], Awaitable[Any]]


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Code and text for a client. The text never is a traceback."""
    if isinstance(error, errors.BerthError):
        kind = next(cls for cls in type(error).__mro__ if cls in CODES)
        return CODES[kind], str(error)
    # The kernel's words with the file: without it "Permission denied" says nothing.
    if isinstance(error, OSError):
        return grpc.StatusCode.UNKNOWN, f"{error.strerror or error}: {error.filename or 'host'}"
    return (
        grpc.StatusCode.INTERNAL,
        f"cri-shim failed on this request ({type(error).__name__}); its log has the details",
    )


def edge(name: str, verb: Verb) -> Method:
    """Wrap a verb: one log line with its duration, its error as a gRPC status."""
    level = logging.DEBUG if name in QUIET else logging.INFO

    async def method(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        began = time.perf_counter()
        try:
            response = await verb(_sound(request))
        except asyncio.CancelledError:
            # gRPC cancels the handler when its client gives up. Creates, and stops of containers,
            # run in tasks of their own and go on; the retry joins them.
            log.info("%s: client left after %.1f ms", name, (time.perf_counter() - began) * 1e3)
            raise
        except Exception as error:
            await refuse(name, error, began, context)
            raise  # not reached: refuse aborts the call
        log.log(level, "%s: %.1f ms", name, (time.perf_counter() - began) * 1e3)
        return response

    return method


def _sound(request: Any) -> Any:
    """The request, unless it could not be decoded."""
    if isinstance(request, errors.BerthError):
        raise request
    return request


async def refuse(
    name: str, error: Exception, began: float, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    """Log an error and end the call with its status."""
    code, text = status_of(error)
    milliseconds = (time.perf_counter() - began) * 1e3
    known = isinstance(error, errors.BerthError)
    log.warning("%s: %s after %.1f ms: %s", name, code.name, milliseconds, text,
                exc_info=None if known else error)  # fmt: skip
    await context.abort(code, text)


def stream_edge(name: str, verb: Callable[[Any], AsyncGenerator[Any, None]]) -> Any:
    """Wrap a verb that returns many messages.

    A None among them is no message: it sends the response's headers, so that the client knows that
    the verb has begun. A client that leaves, even while it is written to, ends the verb at once.
    """

    async def method(
        request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        began = time.perf_counter()
        try:
            # Closed here and now: a generator that is left to the collector ends its subscription
            # at some later time, and its queue fills until then.
            async with contextlib.aclosing(verb(_sound(request))) as responses:
                async for response in responses:
                    if response is None:
                        await context.send_initial_metadata(())
                    else:
                        yield response
        except asyncio.CancelledError:
            log.debug("%s: client left", name)
            raise
        except Exception as error:
            await refuse(name, error, began, context)

    return method
