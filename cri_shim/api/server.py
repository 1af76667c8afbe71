"""The gRPC server on the unix socket."""

from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from berth.base.errors import InvalidArgument
from berth.base.grpc_server import UnixServer
from cri_shim.api.codes import edge, stream_edge


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


class Server(UnixServer):
    """Serves on one unix socket, root only."""

    def __init__(self, path: Path, services: "list[grpc.GenericRpcHandler[Any, Any]]") -> None:
        super().__init__(path)
        self.grpc.add_generic_rpc_handlers(tuple(services))
