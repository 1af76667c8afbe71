"""Errors of images that callers tell apart."""

from cri_shim.model.errors import RuntimeFailure, Unavailable


class BadImage(RuntimeFailure):
    """The image's content is broken, hostile or not for this node; a retry will not help."""


class RegistryUnavailable(Unavailable):
    """No endpoint of the registry answered.

    The kubelet shows a pull error to users by its first word, so the text begins with it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"RegistryUnavailable: {text}")


class AccessDenied(RuntimeFailure):
    """The registry refuses; the text says which credentials were shown, not what is in them."""
