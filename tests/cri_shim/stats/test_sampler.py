"""CPU rates under a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from cri_shim.stats.group import Group
from cri_shim.stats.sampler import Sampler

S = 1_000_000_000


def test_a_new_counter_has_a_rate_after_its_first_second() -> None:
    sampler = Sampler()
    sampler.watch("c", None, now=0)
    assert sampler.observe("c", S // 2, S // 4) is None
    assert sampler.observe("c", S, S // 2) == S // 2


def test_an_unknown_counter_is_watched_from_its_first_reading() -> None:
    sampler = Sampler()
    assert sampler.observe("c", 10 * S, 7 * S) is None
    assert sampler.observe("c", 12 * S, 9 * S) == S
    sampler.forget("c")
    sampler.forget("c")
    assert len(sampler) == 0


def test_quick_requests_still_span_a_second() -> None:
    sampler = Sampler()
    sampler.watch("c", None, now=0)
    assert sampler.observe("c", S, S) == S
    assert sampler.observe("c", S + S // 10, S) == S * 10 // 11
    assert sampler.observe("c", 2 * S, S) == 0


def test_a_counter_that_runs_backwards_begins_anew() -> None:
    sampler = Sampler()
    sampler.watch("c", None, now=0, used=9 * S)
    assert sampler.observe("c", 5 * S, S) is None
    assert sampler.observe("c", 6 * S, 2 * S) == S


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 3 * S)), max_size=30))
def test_a_rate_lies_between_the_slowest_and_the_fastest_step(
    steps: list[tuple[int, int]],
) -> None:
    """Each step lasts at least a tick, at up to two CPUs."""
    sampler = Sampler()
    now = used = 0
    sampler.watch("c", None, now, used)
    for ticks, share in steps:
        lasted = ticks + 1
        now += lasted
        used += lasted * min(share, 2 * S) // S
        rate = sampler.observe("c", now, used)
        assert rate is None or 0 <= rate <= 2 * S


class FakeGroup(Group):
    """A group whose counter the test sets."""

    def __init__(self, used: int | None) -> None:
        self.used = used

    def cpu_time(self) -> int | None:
        return self.used


def test_rounds_read_what_is_there() -> None:
    sampler = Sampler()
    busy, gone = FakeGroup(0), FakeGroup(None)
    sampler.watch("busy", busy, now=0)
    sampler.watch("gone", gone, now=0)
    busy.used = 3 * S
    sampler.round(2 * S)
    assert sampler.observe("busy", 2 * S + S // 2, 3 * S) == 3 * S * S // (2 * S + S // 2)
    assert sampler.observe("gone", 3 * S, 0) == 0
