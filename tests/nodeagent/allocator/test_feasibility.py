"""What is told quickly about a claim, by one path, is what all targets worked out say."""

from random import Random

import pytest

from nodeagent.allocator.claims.feasibility import short_where_plan_is_met, targets_cover
from nodeagent.allocator.policy.builtin import BUILT_IN
from nodeagent.allocator.policy.guard import _split, demands_of
from tests.nodeagent.allocator.runs import Run


@pytest.mark.parametrize("seed", range(12))
def test_feasibility_is_what_the_targets_say(seed: int) -> None:
    run, random = Run(seed), Random(seed)
    for number in range(20):
        run.step(number)
        for pool in run.allocator.pools.values():
            for leaf in pool.tree.leaves:
                asked = [(each, random.randint(0, 6)) for each in range(len(pool.resources))]
                pairs = tuple((each, amount) for each, amount in asked if amount)
                short = [each for each, _ in pairs]
                policy = BUILT_IN[pool.group.policy]
                goals = _split(pool, policy, demands_of(pool, leaf, pairs, short))
                weight = pool.projected.weight
                slow = all(goals[each][leaf] >= weight[each][leaf] + more for each, more in pairs)
                assert targets_cover(pool, policy.divide(pool.tree), leaf, pairs, short) == slow
                met_and_short = any(
                    all(
                        pool.projected.upward(each, node) >= pool.entitlements[each].deserved[node]
                        for node in pool.tree.paths[leaf][:-1]
                    )
                    for each in pool.projected.exceeded(leaf, pairs)
                )
                assert short_where_plan_is_met(pool, leaf, pairs) == met_and_short
