"""The one table from the agent's errors to gRPC codes.

JournalError is UNAVAILABLE because the caller should come again: the agent ends, is started anew by
its service manager, and then knows whether the operation happened.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc

from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.values.operation import OperationRefused
from nodeagent.ledger.history import CursorLost
from nodeagent.ledger.journal.errors import JournalError

log = logging.getLogger(__name__)

_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (OperationRefused, grpc.StatusCode.INVALID_ARGUMENT),
    (DocumentRefused, grpc.StatusCode.INVALID_ARGUMENT),
    (CursorLost, grpc.StatusCode.OUT_OF_RANGE),
    (JournalError, grpc.StatusCode.UNAVAILABLE),
)
_ABSENT = ("is no allocation", "is no open notice")
"""How an OperationRefused says that the object it names does not exist."""


@asynccontextmanager
async def errors_as_status(context: Any) -> AsyncIterator[None]:
    """End the call with the code and the message of an error of the agent.

    Of an error that is not in the table the client gets the class alone; the log has the rest.
    """
    try:
        yield
    except Exception as error:
        code = _code(error)
        if code is None:
            log.exception("call failed")
            await _abort(context, grpc.StatusCode.INTERNAL, f"{type(error).__name__}: see the log")
        await _abort(context, code, str(error))


def _code(error: Exception) -> grpc.StatusCode | None:
    if isinstance(error, OperationRefused) and error.fault.endswith(_ABSENT):
        return grpc.StatusCode.NOT_FOUND
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    # It raises, so nothing after it runs; grpc's types do not say so.
    await context.abort(code, text)
    raise AssertionError("abort always raises")
