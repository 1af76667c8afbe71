"""Dividing whole units among claimants: by weight, in proportion, or by tier. Exact integers.

Every function takes the total, one entry per claimant in tree order, and returns one whole amount
per claimant. Leftover units go to the largest remainder, ties to the earlier claimant: the first of
three equal consumers gets the only slot (semantics 2.2 and 2.15).

No floats: memory in bytes times a weight exceeds 2^53, and a quotient rounded the wrong way is a
unit too many.
"""

from collections.abc import Sequence


def waterfill(total: int, weights: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Weighted max-min: x_i = min(cap_i, λ·weight_i) with Σx = min(total, Σcap of weight > 0).

    A claimant of weight 0 gets nothing.
    """
    # 12 by weights 1:1:2 with caps 2, 9, 9. λ would be 3: the first is filled at 2 and leaves 10
    # for 1:2, so λ is 3⅓ for the others: 3 and 6, and the unit left goes to the larger remainder.
    shares = [0] * len(caps)
    hungry = [index for index, cap in enumerate(caps) if cap > 0 and weights[index] > 0]
    while hungry:
        weight = sum(weights[index] for index in hungry)
        # Compared without dividing: cap_i ≤ T·w_i/Σw. A claimant filled here stays so, because
        # taking it out only raises the level for the others.
        full = [index for index in hungry if caps[index] * weight <= total * weights[index]]
        if not full:
            _by_remainder(total, weight, weights, hungry, shares)
            break
        for index in full:
            shares[index] = caps[index]
            total -= caps[index]
        hungry = [index for index in hungry if shares[index] != caps[index]]
    return shares


def _by_remainder(
    total: int, weight: int, weights: Sequence[int], claimants: list[int], shares: list[int]
) -> None:
    """Write proportional parts of a total too small to fill any claimant into `shares`."""
    rests = []
    left = total
    for index in claimants:
        shares[index], rest = divmod(total * weights[index], weight)
        left -= shares[index]
        rests.append((-rest, index))
    for _, index in sorted(rests)[:left]:
        shares[index] += 1


def hamilton(total: int, parts: Sequence[int]) -> list[int]:
    """`parts` scaled down to a total they exceed, by largest remainder."""
    shares = [0] * len(parts)
    whole = sum(parts)
    if whole <= total:
        return list(parts)
    _by_remainder(max(total, 0), whole, parts, [i for i, part in enumerate(parts) if part], shares)
    return shares


def waterfill_all(total: int, weights: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Like `waterfill`, and what the weighted leave over goes in equal parts to weight 0."""
    if sum(caps) <= total:
        return list(caps)
    shares = waterfill(total, weights, caps)
    left = total - sum(shares)
    if left > 0:
        rest = [cap if weights[index] == 0 else 0 for index, cap in enumerate(caps)]
        extra = waterfill(left, [1] * len(caps), rest)
        shares = [share + more for share, more in zip(shares, extra, strict=True)]
    return shares


def by_tier(
    total: int, tiers: Sequence[int], weights: Sequence[int], caps: Sequence[int]
) -> list[int]:
    """Serve the lowest tier number first, in full; within a tier the weights decide."""
    shares = [0] * len(caps)
    for tier in sorted(set(tiers)):
        inside = [cap if tiers[index] == tier else 0 for index, cap in enumerate(caps)]
        served = waterfill_all(total, weights, inside)
        total -= sum(served)
        shares = [share + more for share, more in zip(shares, served, strict=True)]
    return shares
