"""Planned use over time: phases that stay or decrease, and what they hold at an age.

Source of the rules: the rusage section of Spectrum LSF, whose phases follow one another, each but
the last with a duration; decay gives units back evenly until the next phase's amount.
"""

from collections.abc import Mapping
from itertools import pairwise

from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.sections import Phase


def check(phases: tuple[Phase, ...]) -> None:
    """Raise RequirementError unless phases have durations and never increase."""
    for phase in phases:
        _check_once(phase)
    for phase, following in pairwise(phases):
        if phase.duration is None:
            raise RequirementError(
                "a phase before the last has no duration", phase.position, ":duration=<seconds>"
            )
        _check_step(phase, following)


def _check_once(phase: Phase) -> None:
    seen: set[str] = set()
    for usage in phase.usages:
        if usage.resource in seen:
            raise RequirementError(
                f"{usage.resource} twice in one phase", usage.position, "each resource once"
            )
        seen.add(usage.resource)


def _check_step(phase: Phase, following: Phase) -> None:
    before = {usage.resource: usage.thousandths for usage in phase.usages}
    for usage in following.usages:
        if usage.thousandths > before.get(usage.resource, 0):
            # Units given back are somebody else's by then; there is no way to promise them again.
            raise RequirementError(
                f"{usage.resource} increases from one phase to the next",
                usage.position,
                "phases that stay or decrease",
            )


def check_consumable(phases: tuple[Phase, ...], scale: Mapping[str, int]) -> None:
    """Raise RequirementError unless every resource is consumable and comes in whole base units.

    `scale` has the consumable resources: thousandths of the unit users write to one base unit
    (cpu, kept in milli: 1; memory, kept in bytes: 1000).
    """
    for phase in phases:
        for usage in phase.usages:
            if usage.resource not in scale:
                raise RequirementError(
                    f"{usage.resource} is not consumable",
                    usage.position,
                    "one of " + (", ".join(sorted(scale)) or "no resource at all"),
                )
            if usage.thousandths % scale[usage.resource]:
                raise RequirementError(
                    f"{usage.resource} comes in whole units", usage.position, "an integer"
                )


def planned(phases: tuple[Phase, ...], scale: Mapping[str, int], age: int) -> dict[str, int]:
    """Base units per resource that are planned `age` seconds after the start; none are left out.

    Never increases with age. Decaying units are rounded up, so that none comes back early.
    """
    check_consumable(phases, scale)
    start = 0
    for index, phase in enumerate(phases):
        if phase.duration is None or age < start + phase.duration:
            following = phases[index + 1] if index + 1 < len(phases) else None
            amounts = _within(phase, following, scale, age - start)
            return {name: amount for name, amount in amounts.items() if amount}
        start += phase.duration
    return {}


def _within(
    phase: Phase, following: Phase | None, scale: Mapping[str, int], elapsed: int
) -> dict[str, int]:
    """Base units `elapsed` seconds into a phase."""
    amounts = _amounts(phase, scale)
    if not phase.decay or phase.duration is None:
        return amounts
    floor = _amounts(following, scale) if following else {}
    return {
        # Rounded down is what comes back, so what is still planned is rounded up.
        name: amount - (amount - floor.get(name, 0)) * elapsed // phase.duration
        for name, amount in amounts.items()
    }


def _amounts(phase: Phase, scale: Mapping[str, int]) -> dict[str, int]:
    return {usage.resource: usage.thousandths // scale[usage.resource] for usage in phase.usages}
