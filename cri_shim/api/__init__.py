"""The CRI edge: decode a request, run one verb, encode the answer.

Here: the two gRPC services, the one table from error class to gRPC code, interceptors.
Not here: what a verb does (`pods`), what a field means (`model`).
"""
