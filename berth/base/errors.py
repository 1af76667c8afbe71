"""What can go wrong, by what the caller can do about it.

`api` turns each class into one gRPC code, and is the only place that knows the codes. A message
names the object, the cause and the remedy: kubelet puts it into the pod's events, where a user
reads it.
"""


class BerthError(Exception):
    """Base of all errors with a message for users."""


class InvalidArgument(BerthError):
    """A field is wrong; the message names it and what would be accepted."""


class NotFound(BerthError):
    """The object does not exist."""


class AlreadyExists(BerthError):
    """The name is taken by another object."""


class FailedPrecondition(BerthError):
    """Right request, wrong moment: the object's state forbids it."""


class ResourceExhausted(BerthError):
    """Too little of a resource now: it is held for an owner, or a bounded table is full."""


class DeadlineExceeded(BerthError):
    """A timeout of the request passed; the message names the stage."""


class Unavailable(BerthError):
    """Something needed does not respond; a retry may succeed."""


class Unimplemented(BerthError):
    """This host or this OCI runtime cannot do it; the message says what is missing."""


class RuntimeFailure(BerthError):
    """The OCI runtime, the monitor, a plugin or the kernel refused."""
