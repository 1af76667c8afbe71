"""Sharing policies that other packages plug in."""

import logging
from importlib.metadata import entry_points

from nodeagent.allocator.policy import ENTRY_POINTS, SharingPolicy

log = logging.getLogger(__name__)


def plugged_in() -> dict[str, SharingPolicy]:
    """The installed policies by name; one that cannot be loaded is logged and left out."""
    found: dict[str, SharingPolicy] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            policy = entry.load()()
        except Exception as error:  # whatever foreign code raises must not stop the node
            log.error("sharing policy %s cannot be loaded: %s", entry.name, error)
            continue
        if isinstance(policy, SharingPolicy):
            found[entry.name] = policy
        else:
            log.error("sharing policy %s (%s) is no policy", entry.name, entry.value)
    return found
