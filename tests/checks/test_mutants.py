"""`make mutants` on a module of a few lines: who is killed, who survives, and what is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import ROOT, belonging, mutations

MODULE = Path("berth/sample.py")
SAMPLE = '''"""A sample."""


def smaller(a: int, b: int) -> bool:
    return a < b


def far(a: int) -> bool:
    return a > 40
'''
TESTS = '''"""Its tests: nothing is asked at the border of `far`, and everything about `smaller`."""

from berth.sample import far, smaller


def test_smaller() -> None:
    assert smaller(1, 2) is True and smaller(2, 2) is False


def test_far() -> None:
    assert far(1000) is True and far(0) is False
'''
SLEEPER = """
import subprocess, time
from berth.sample import far

def test_that_hangs_with_a_daemon() -> None:
    if not far(50):
        subprocess.Popen(["sleep", "86397"], start_new_session=True)
        time.sleep(1000)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one module and its tests, in nobody's way."""
    for name, text in (
        ("pyproject.toml", ""),
        (str(MODULE), SAMPLE),
        ("berth/__init__.py", ""),
        ("tests/berth/test_other.py", "def test_other() -> None:\n    pass\n"),
        ("tests/berth/test_sample.py", TESTS),
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def mutants(tree: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.mutants", "--root", str(tree), str(MODULE), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_one_is_killed_and_one_survives(tree: Path) -> None:
    done = mutants(tree, "--number", "100", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    lines, _, report = done.stdout.partition("\n\n")
    assert "killed    berth/sample.py:5: a < b  →  (a <= b)" in lines
    assert report.splitlines() == [
        "5 of 5 mutants tried, seed 3; 2 survived",
        "  berth/sample.py:9: a > 40  →  (a >= 40)",
        "  berth/sample.py:9: 40  →  41",
    ]
    assert (tree / MODULE).read_text() == SAMPLE


def test_the_seed_draws_the_sample(tree: Path) -> None:
    drawn = [mutants(tree, "--number", "2", "--seed", seed).stdout for seed in ("1", "1", "4")]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert "2 of 5 mutants tried, seed 1" in drawn[0]


def test_one_that_hangs_is_killed_with_its_daemon(tree: Path) -> None:
    """It is over after ten seconds and three times what the tests take."""
    tests = tree / "tests/berth/test_sample.py"
    tests.write_text(SLEEPER)
    (tree / MODULE).write_text("def far(a: int) -> bool:\n    return a > 40\n")
    done = mutants(tree, "--number", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "timed out berth/sample.py:2: return a > 40  →  return None" in done.stdout
    assert subprocess.run(["pgrep", "-f", "^sleep 86397"], check=False).returncode == 1


def test_tests_that_fail_unchanged(tree: Path) -> None:
    (tree / "tests/berth/test_other.py").write_text("def test_other():\n    assert False\n")
    done = mutants(tree)
    assert done.returncode == 1
    assert "the tests of berth/sample.py fail unchanged" in done.stdout


def test_the_importing_tests_come_first(tree: Path) -> None:
    assert belonging(tree, MODULE) == ["tests/berth/test_sample.py", "tests/berth/test_other.py"]
    with pytest.raises(SystemExit, match=r"no directory of tests/ mirrors cri_shim/x\.py"):
        belonging(tree, Path("cri_shim/x.py"))


def test_every_mutant_of_the_tree_is_another_program() -> None:
    """Each can be compiled, and differs; also where the text before it is not ASCII."""
    for module in (Path("berth/base/operations.py"), Path("nodeagent/allocator/allocator.py")):
        source = (ROOT / module).read_bytes()
        found = mutations(module, source)
        assert len(found) > 20
        for one in found:
            compile(one.apply(source), str(module), "exec")
            assert one.apply(source) != source
    [one] = mutations(MODULE, "x = 'ä' in y\n".encode())
    assert one.apply("x = 'ä' in y\n".encode()).decode() == "x = ('ä' not in y)\n"
