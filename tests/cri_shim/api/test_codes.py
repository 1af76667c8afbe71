"""Every class of error has one gRPC code, and nothing but words reaches a client."""

import grpc

from berth.base import errors
from cri_shim.api.codes import CODES, status_of
from cri_shim.images.errors import RegistryUnavailable


def test_every_error_has_a_code() -> None:
    kinds = errors.BerthError.__subclasses__()
    # The agent's own errors are no business of this table, and are here if its tests ran before.
    classes = {kind for kind in kinds if not kind.__module__.startswith("nodeagent.")}
    assert classes == set(CODES)


def test_a_kind_of_an_error_has_its_code() -> None:
    code, text = status_of(RegistryUnavailable("no answer"))
    assert (code, text) == (grpc.StatusCode.UNKNOWN, "RegistryUnavailable: no answer")


def test_an_accident_tells_no_traceback() -> None:
    code, text = status_of(KeyError("secret"))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in text and "KeyError" in text
