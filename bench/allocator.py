"""How fast the allocator decides, in memory, on one core; rates also as a ratio to plain counting.

The tree is 156 consumers (5 × 5 × 5 leaves below 31 inner ones, the root included) and 6 resources,
500 allocations. Times are those of the process, so that neighbours on the machine count less.
"""

from collections.abc import Callable
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

from bench.result import Result, ratio, value
from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.values.operation import ApplyPlan, Cancel, Release, Request

RESOURCES = ("cpu", "ephemeral-storage", "hugepages-2Mi", "memory", "nvidia.com/gpu", "pids")
CAPACITY = dict.fromkeys(RESOURCES, 1_000_000)
VECTOR = dict.fromkeys(RESOURCES, 2)
ROUNDS = 5


def _plan(share: int, own: int) -> dict[str, Any]:
    """A plan of 5 × 5 × 5 leaves, every level owning a part of what is above."""
    top = []
    for one in range(5):
        middle = []
        for two in range(5):
            leaves = [
                {
                    "name": f"c{one}-{two}-{three}",
                    "share": 1 + (three + share) % 3,
                    "own": _own(own),
                }
                for three in range(5)
            ]
            middle.append({"name": f"c{one}-{two}", "consumers": leaves, "own": _own(own * 5)})
        row = {"name": f"c{one}", "grace": "30s", "consumers": middle, "own": _own(own * 25)}
        top.append(row)
    return {"groups": [{"name": "default", "windows": [{"when": "always", "consumers": top}]}]}


def _own(amount: int) -> dict[str, Any]:
    rows: dict[str, Any] = dict.fromkeys(RESOURCES, amount)
    rows["cpu"] = f"{amount}m"
    return rows


def _empty_node(capacity: dict[str, int], own: int) -> Allocator:
    plan = parse_spec(_plan(0, own), ZoneInfo)
    return Allocator(plan, {"default": capacity}, 0, zones=ZoneInfo)


def _leaves() -> list[str]:
    return [f"c{one}-{two}-{three}" for one in range(5) for two in range(5) for three in range(5)]


def _counting(rounds: int) -> float:
    """Seconds of a loop that does nothing but count six resources up and down in a dict."""
    counters = dict.fromkeys(RESOURCES, 0)
    start = process_time()
    for _ in range(rounds):
        for name, amount in VECTOR.items():
            counters[name] += amount
        for name, amount in VECTOR.items():
            counters[name] -= amount
    return process_time() - start


def admit_and_release() -> list[Result]:
    """Admissions with their releases a second, with 500 allocations held, and the ratio."""
    allocator = _empty_node(CAPACITY, 1000)
    leaves, seq = _leaves(), 0
    for number in range(500):
        seq += 1
        allocator.apply(Request(f"held{number}", leaves[number % 125], VECTOR), 0, seq)
    rates, ours, theirs = [], [], []
    for part in range(ROUNDS):
        count = 4000
        start = process_time()
        for number in range(count):
            seq += 2
            allocator.apply(Request(f"p{part}.{number}", leaves[number % 125], VECTOR), 0, seq - 1)
            allocator.apply(Release(f"p{part}.{number}"), 0, seq)
        ours.append(process_time() - start)
        rates.append(count / ours[-1])
        theirs.append(_counting(count))
    name = "admit+release, 156 consumers × 6 resources"
    return [
        value(name, rates, "/s", at_least=20_000),
        ratio("admit+release, times a counting loop", ours, theirs, at_most=60),
    ]


def _full_node(
    change: Callable[[dict[str, Any]], None] = lambda spec: None,
) -> tuple[Allocator, int]:
    """500 allocations that fill the node, all of them with half of the consumers."""
    spec = _plan(0, 8)
    change(spec)
    capacity = {"default": dict.fromkeys(RESOURCES, 1000)}
    allocator = Allocator(parse_spec(spec, ZoneInfo), capacity, 0, zones=ZoneInfo)
    leaves, seq = _leaves(), 0
    for number in range(500):
        seq += 1
        allocator.apply(Request(f"held{number}", leaves[number % 62], VECTOR), 0, seq)
    return allocator, seq


def _short_lendout_grace(spec: dict[str, Any]) -> None:
    """A branch that lends to nobody whose grace is longer than it waits for its own."""
    top = spec["groups"][0]["windows"][0]["consumers"]
    top[4]["lendoutGrace"] = "20s"


def claim() -> list[Result]:
    """A claim that takes back from borrowers among 500 allocations, cancelled again each time.

    The borrowers have a grace, so that what was cancelled is as it was before.
    """
    free, restricted = _claims(*_full_node()), _claims(*_full_node(_short_lendout_grace))
    return [
        value("claim among 500 allocations, p99", free, "ms", at_most=10),
        value("the same where lending is restricted, p99", restricted, "ms", at_most=10),
    ]


def _claims(allocator: Allocator, seq: int) -> list[float]:
    """The p99 of each round, in milliseconds."""
    for identity in [row.id for row in allocator.allocations.values() if not row.held]:
        seq += 1
        allocator.apply(Cancel(identity), 0, seq)
    leaves, found = _leaves(), []
    for part in range(ROUNDS):
        times = []
        for number in range(100):
            seq += 2
            request = Request(f"o{part}.{number}", leaves[63 + number % 37], VECTOR)
            start = process_time()
            verdict = allocator.apply(request, 0, seq - 1).verdict
            times.append((process_time() - start) * 1000)
            assert verdict.answer.value == "RECLAIMING"
            allocator.apply(Cancel(request.id), 0, seq)
        found.append(sorted(times)[98])
    return found


def queue() -> list[Result]:
    """One more that cannot be served, while 300 wait already for amounts of seven kinds."""
    allocator = _empty_node(dict.fromkeys(RESOURCES, 1000), 8)
    leaves, seq = _leaves(), 0
    for number in range(800):
        seq += 1
        amount = 2 if number < 500 else 1 + number % 7
        vector = dict.fromkeys(RESOURCES, amount)
        allocator.apply(Request(f"p{number}", leaves[number % 125], vector), 0, seq)
    times = []
    for number in range(100):
        seq += 2
        request = Request(f"q{number}", leaves[number % 125], VECTOR)
        start = process_time()
        allocator.apply(request, 0, seq - 1)
        times.append((process_time() - start) * 1000)
        allocator.apply(Cancel(request.id), 0, seq)
    return [value("admission with 300 waiting", times, "ms", at_most=2)]


def _timed(name: str, at_most: float, act: Callable[[], object]) -> list[Result]:
    times = []
    for _ in range(ROUNDS):
        start = process_time()
        act()
        times.append((process_time() - start) * 1000)
    return [value(name, times, "ms", at_most=at_most)]


def rebuild() -> list[Result]:
    """An allocator of 500 allocations read back from its document."""
    document = _full_node()[0].to_document()
    return _timed(
        "rebuild of 500 allocations",
        100,
        lambda: Allocator.from_document(document, zones=ZoneInfo),
    )


def switch() -> list[Result]:
    """Another plan for 156 consumers put in force while 500 allocations run."""
    allocator, seq = _full_node()
    header = {"apiVersion": "berth.dev/v1alpha1", "kind": "ConsumerPlan"}
    plans = [{**header, "spec": _plan(share, 7)} for share in range(2)]
    numbers = iter(range(seq + 1, seq + 1000))

    def act() -> None:
        number = next(numbers)
        allocator.apply(ApplyPlan(plans[number % 2]), 0, number)

    return _timed("plan switch, 156 consumers × 6 resources", 50, act)


def run() -> list[Result]:
    """Every measurement."""
    return [*admit_and_release(), *claim(), *queue(), *rebuild(), *switch()]
