"""Plans that are wrong in one place each: refused with the path and what would be accepted."""

import copy
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from nodeagent.allocator.plan.consumer import Circle, Mode, Rebalance, walk
from nodeagent.allocator.plan.plan_reading import check_capacity, parse_plan, parse_spec
from nodeagent.allocator.plan.problem import DocumentRefused

GOOD = yaml.safe_load("""
apiVersion: berth.dev/v1alpha1
kind: ConsumerPlan
metadata: {name: default}
spec:
  timeZone: UTC
  groups:
  - name: default
    mode: hybrid
    rebalance: sticky
    windows:
    - when: {days: [mon-fri], from: "08:00", to: "20:00"}
      consumers:
      - name: research
        own: {cpu: "4", memory: 8Gi, nvidia.com/gpu: 2}
        share: 3
        limit: {cpu: "12"}
        borrowLimit: {nvidia.com/gpu: 2}
        reserve: {cpu: "1"}
        grace: 30s
        lendoutGrace: 60s
        rank: 2
        namespaces: [research, "ml-*"]
        consumers:
        - {name: notebooks, share: 1}
        - {name: training, share: 3, own: {cpu: 2}}
      - {name: batch, own: {cpu: 500m}, lendTo: [training], borrowFrom: any}
    - when:
      - {days: [mon-thu], from: "20:00", to: "08:00"}
      - {days: [fri], from: "20:00"}
      - {days: [sat, sun]}
      - {days: [mon], to: "08:00"}
      consumers:
      - {name: batch, rebalance: adjust}
""")

FIRST = "spec.groups[0].windows[0].consumers[0]"
BATCH = "spec.groups[0].windows[0].consumers[1]"


def changed(path: list[Any], value: Any) -> Any:
    plan = copy.deepcopy(GOOD)
    place = plan
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return plan


def where(path: str) -> list[Any]:
    """The keys of a path such as `spec.groups[0].name`."""
    keys: list[Any] = []
    for part in path.replace("]", "").split("."):
        name, *numbers = part.split("[")
        keys += [name, *map(int, numbers)]
    return keys


def problems(document: Any) -> list[Any]:
    with pytest.raises(DocumentRefused) as caught:
        parse_plan(document, ZoneInfo)
    return list(caught.value.problems)


def test_a_good_plan_is_read_exactly() -> None:
    plan = parse_plan(GOOD, ZoneInfo)
    group = plan.groups[0]
    assert group.mode is Mode.HYBRID
    by_name = {consumer.name: consumer for consumer in walk(group.windows[0].consumers)}
    research, training = by_name["research"], by_name["training"]
    assert research.own == {"cpu": 4000, "memory": 8 << 30, "nvidia.com/gpu": 2}
    assert (research.grace, research.lendout_grace, research.rank) == (30_000, 60_000, 2)
    assert (training.grace, training.rank) == (30_000, 2)
    assert training.namespaces == ("research", "ml-*")
    assert by_name["batch"].lend_to == {"training"}
    assert by_name["batch"].borrow_from is Circle.ANY
    assert by_name["batch"].own == {"cpu": 500}
    assert group.windows[1].consumers[0].rebalance is Rebalance.ADJUST
    assert sum(span.end - span.start for w in group.windows for span in w.spans) == 7 * 24 * 60
    assert parse_plan(plan.document, ZoneInfo) == plan


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("apiVersion", "v1", "berth.dev/v1alpha1"),
        ("kind", KeyError, "found nothing"),
        ("metadata.name", 7, "found 7"),
        ("extra", 1, "is not a known field"),
        ("spec", [], "a list"),
        ("spec.timeZone", "Mars/Olympus", "a time zone such as UTC"),
        ("spec.timeZone", "../../etc/passwd", "a time zone such as UTC"),
        ("spec.timeZone", 3, "a time zone such as UTC"),
        ("spec.groups", {}, "a list of resource groups"),
        ("spec.groups", [], "1 to 64"),
        ("spec.groups[0]", "x", "a group with name"),
        ("spec.groups[0].name", "", "at most 63 characters"),
        ("spec.groups[0].mode", "free", "hybrid or ownership or share"),
        ("spec.groups[0].rebalance", True, "sticky or adjust"),
        ("spec.groups[0].order", 1, "borrowFirst or reclaimFirst"),
        ("spec.groups[0].cut", None, "waterfill or prorata"),
        ("spec.groups[0].policy", 5, "at most 63 characters"),
        ("spec.groups[0].overAllocate", "yes", "true or false"),
        ("spec.groups[0].windows", 5, "a list of windows"),
        ("spec.groups[0].windows[0].when", "monday", "always, or"),
        ("spec.groups[0].windows[0].when.days", [], "the list is empty"),
        ("spec.groups[0].windows[0].when.days", ["monday"], "days such as mon"),
        ("spec.groups[0].windows[0].when.days", ["mon", "mon"], "names mon again"),
        ("spec.groups[0].windows[0].when.from", 480, "a time in quotes"),
        ("spec.groups[0].windows[0].when.to", "25:00", "a time in quotes"),
        ("spec.groups[0].windows[0].when.to", "08:00", "covers no time"),
        ("spec.groups[0].windows[0].when.until", "20:00", "is not a known field"),
        ("spec.groups[0].windows[0].consumers", [], "the list is empty"),
        (f"{FIRST}.name", "a b", "a name of letters"),
        (f"{FIRST}.name", KeyError, "found nothing"),
        (f"{BATCH}.name", "training", "is already the name of"),
        (f"{FIRST}.name", "system", "is built in"),
        (f"{FIRST}.own", [], "quantities such as"),
        (f"{FIRST}.own.cpu", "four", "cores such as"),
        (f"{FIRST}.own.cpu", "-1", "not negative"),
        (f"{FIRST}.own.cpu", "0.0001", "without a fraction of milli-cores"),
        (f"{FIRST}.own.cpu", True, "cores such as"),
        (f"{FIRST}.own.cpu", None, "cores such as"),
        (f"{FIRST}.own.memory", "8GiB", "bytes such as"),
        (f"{FIRST}.own.memory", "9" * 400, "bytes such as"),
        (f"{FIRST}.own.memory", "10E", "less than 2^63"),
        (f"{FIRST}.own.memory", float("nan"), "bytes such as"),
        (f"{FIRST}.own.cpu", 1, "its children own 2 together"),
        (f"{FIRST}.share", -1, "from 0 to"),
        (f"{FIRST}.share", 1.5, "from 0 to"),
        (f"{FIRST}.limit.cpu", "1", "is below own"),
        (f"{FIRST}.reserve.cpu", "5", "is more than own"),
        (f"{FIRST}.grace", "soon", "a duration such as"),
        (f"{FIRST}.grace", 30, "a duration such as"),
        (f"{FIRST}.lendoutGrace", "9000d", "at most one year"),
        (f"{FIRST}.borrowMinRuntime", "-1s", "a duration such as"),
        (f"{FIRST}.rebalanceOnWindow", 1, "true or false"),
        (f"{FIRST}.rank", 0, "from 1 to"),
        (f"{FIRST}.namespaces", "all", "a list such as"),
        (f"{FIRST}.namespaces[0]", "No Such", "a namespace, with"),
        (f"{FIRST}.colour", "red", "is not a known field"),
        (f"{FIRST}.rebalance", "never", "sticky or adjust"),
        (f"{BATCH}.lendTo", ["research"], "is no leaf consumer"),
        (f"{BATCH}.lendTo", ["nobody"], "is no leaf consumer"),
        (f"{BATCH}.borrowFrom", ["batch"], "names itself"),
        (f"{BATCH}.borrowFrom", "some", "any, none or a list"),
        (f"{BATCH}.borrowFrom", [1], "the name of a leaf consumer"),
    ],
)
def test_one_wrong_field_is_named(path: str, value: Any, fault: str) -> None:
    found = problems(changed(where(path), value))
    assert any(fault in str(problem) for problem in found), found
    assert any(problem.path.startswith(path.rpartition(".")[0]) for problem in found), found
    assert all(problem.accepted for problem in found)


def test_odd_resource_names_are_named() -> None:
    plan = changed([*where(FIRST), "own"], {"no such thing!": 1})
    (problem,) = problems(plan)
    assert problem.path == f"{FIRST}.own['no such thing!']"


def test_every_problem_is_reported_at_once() -> None:
    plan = changed([*where(FIRST), "own", "cpu"], "x")
    plan["spec"]["groups"][0]["mode"] = "y"
    plan["spec"]["groups"][0]["windows"][0]["consumers"][1]["share"] = -4
    paths = {problem.path for problem in problems(plan)}
    assert paths >= {f"{FIRST}.own.cpu", "spec.groups[0].mode", f"{BATCH}.share"}


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ({"days": ["mon-fri"], "from": "08:00", "to": "19:59"}, "no window from mon 19:59"),
        ({"days": ["mon-fri"], "from": "08:00", "to": "20:01"}, "overlaps window"),
        ("always", "overlaps window"),
        ({"days": ["mon-thu"], "from": "08:00", "to": "20:00"}, "no window from fri 08:00"),
    ],
)
def test_windows_cover_the_week_once(when: Any, fault: str) -> None:
    plan = changed(["spec", "groups", 0, "windows", 0, "when"], when)
    assert any(fault in problem.fault for problem in problems(plan))


def test_a_tree_that_contains_itself_is_refused() -> None:
    plan = copy.deepcopy(GOOD)
    row = plan["spec"]["groups"][0]["windows"][0]["consumers"][0]
    row["consumers"] = [row]
    assert any("contains itself" in problem.fault for problem in problems(plan))


def test_a_tree_too_deep_or_too_wide_is_refused() -> None:
    deep: dict[str, Any] = {"name": "x"}
    for number in range(20):
        deep = {"name": f"x{number}", "consumers": [deep]}
    wide = [{"name": f"w{number}"} for number in range(5_001)]
    for rows, fault in (([deep], "too deep"), (wide, "too many consumers")):
        plan = changed(["spec", "groups", 0, "windows", 0, "consumers"], rows)
        assert any(fault in problem.fault for problem in problems(plan))


@pytest.mark.parametrize("document", [None, 5, "plan", [], {1: 2}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    assert problems(document)


def test_the_number_of_problems_is_bounded() -> None:
    rows = [{"name": "-"} for _ in range(4000)]
    plan = changed(["spec", "groups", 0, "windows", 0, "consumers"], rows)
    assert len(problems(plan)) == 100


def test_ownership_fits_in_the_capacity_unless_it_need_not() -> None:
    spec = copy.deepcopy(GOOD["spec"])
    have = {"cpu": 4400, "memory": 8 << 30, "nvidia.com/gpu": 2}
    plan = parse_spec(spec, ZoneInfo)
    with pytest.raises(DocumentRefused, match="own 4500m of cpu together"):
        check_capacity(plan, {"default": have})
    check_capacity(plan, {"default": {**have, "cpu": 4500}})
    spec["groups"][0]["overAllocate"] = True
    check_capacity(parse_spec(spec, ZoneInfo), {"default": have})


def test_groups_have_unique_names() -> None:
    plan = copy.deepcopy(GOOD)
    plan["spec"]["groups"] *= 2
    assert any("stands twice" in problem.fault for problem in problems(plan))
