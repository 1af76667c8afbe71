"""The gRPC server on the unix socket."""

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from berth.base.errors import FailedPrecondition, InvalidArgument
from cri_shim.api.codes import edge, stream_edge

MAX_MESSAGE = 80 << 20
"""Bytes of one message; a list of a crowded node may be large (cri-o serves the same)."""


def serialize(response: Any) -> bytes:
    """Lists come encoded already."""
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())


def _decode(kind: Descriptor, data: bytes) -> Any:
    """The request; or the refusal of what is none, for the edge to raise.

    Left to gRPC, such a request would count as an internal error.
    """
    try:
        return GetMessageClass(kind).FromString(data)
    except DecodeError:
        return InvalidArgument(f"the request is not a {kind.full_name} message")


def _handler(method: MethodDescriptor, verb: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    decode = partial(_decode, method.input_type)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(
            stream_edge(method.name, verb), decode, serialize
        )
    return grpc.unary_unary_rpc_method_handler(edge(method.name, verb), decode, serialize)


def handlers(
    service: ServiceDescriptor, *implementations: object
) -> "grpc.GenericRpcHandler[Any, Any]":
    """The methods that the implementations have; gRPC returns UNIMPLEMENTED for others."""
    table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        method.name: _handler(method, getattr(implementation, method.name))
        for implementation in implementations
        for method in service.methods
        if hasattr(implementation, method.name)
    }
    return grpc.method_handlers_generic_handler(service.full_name, table)


class Server:
    """Serves on one unix socket, root only."""

    def __init__(self, path: Path, services: "list[grpc.GenericRpcHandler[Any, Any]]") -> None:
        self._path = path
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                # Two daemons on one socket would each get some of the calls.
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers(tuple(services))

    async def start(self) -> None:
        """Bind and serve; FailedPrecondition if another daemon serves there."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if in_use(self._path):
            raise FailedPrecondition(f"another daemon serves on {self._path}: stop it first")
        # One that was killed leaves its socket behind, and bind(2) refuses a name that is there.
        self._path.unlink(missing_ok=True)
        # The mode at birth: a chmod(2) after the bind leaves a moment in which anybody may connect.
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
        finally:
            os.umask(before)
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Let calls in flight finish within `grace` seconds; take the socket away."""
        await self._server.stop(grace)
        self._path.unlink(missing_ok=True)


def in_use(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
