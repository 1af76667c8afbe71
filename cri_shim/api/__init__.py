"""The gRPC edge: decode a request, run one verb, encode the response.

Here: `runtime.v1` and the shim's own service, the one table from error class to gRPC code, and the
log line around every call. RuntimeService has 40 methods and three files: calls about one pod or
container (`runtime_service`), usage (`usage_service`), and streams (`stream_service`).
Not here: what a verb does (`verbs`), what a field means (`model`).
"""
