"""Errors of images that callers tell apart."""

from berth.base.errors import RuntimeFailure


class BadImage(RuntimeFailure):
    """The image's content is broken, hostile or not for this node; a retry will not help."""


class RegistryUnavailable(RuntimeFailure):
    """No endpoint of the registry answered.

    The kubelet knows the error by its first word, and looks at the bare text only where the gRPC
    code is UNKNOWN: hence the base class.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"RegistryUnavailable: {text}")


class AccessDenied(RuntimeFailure):
    """The registry refuses; the text says which credentials were shown, not what is in them."""
