"""The result that a plugin printed: JSON, and the pod's addresses in it."""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from berth.base.errors import RuntimeFailure
from cri_shim.network.pod import INTERFACE

_SHOWN = 200


def parse(output: bytes, who: str) -> dict[str, Any]:
    """The object a plugin printed; RuntimeFailure shows what it printed instead."""
    if not output.strip():
        raise RuntimeFailure(f"{who} ended well but printed no result: it is broken or no plugin")
    try:
        content = json.loads(output)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        shown = output[:_SHOWN].decode(errors="replace")
        raise RuntimeFailure(f"{who} printed something that is not a result: {shown!r}")
    return content


def addresses(result: Mapping[str, Any], network: str) -> tuple[str, ...]:
    """Addresses on the pod's interface; RuntimeFailure where there is none.

    The index `interface` of an address refers to the result's list of interfaces (0.3.0 and later);
    an address without one is the pod's.
    """
    interfaces = result.get("interfaces") or []
    found = []
    for entry in result.get("ips") or []:
        at = entry.get("interface")
        if at is None or _is_pods(interfaces, at):
            found.append(_address(entry, network))
    if not found:
        raise RuntimeFailure(
            f"CNI network {network} gave the pod no address on {INTERFACE}: its result is "
            f"{json.dumps(result)[:_SHOWN]}"
        )
    return tuple(found)


def _is_pods(interfaces: list[Any], at: int) -> bool:
    if not 0 <= at < len(interfaces):
        return False
    # `sandbox` tells the pod's interfaces from the host's, which may have the same name.
    return interfaces[at].get("name") == INTERFACE and bool(interfaces[at].get("sandbox"))


def _address(entry: Mapping[str, Any], network: str) -> str:
    try:
        return str(ipaddress.ip_interface(entry["address"]).ip)
    except (KeyError, ValueError) as error:
        raise RuntimeFailure(
            f"CNI network {network}: address {entry!r} in the result is none: {error}"
        ) from None
