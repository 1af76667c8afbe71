"""Breaks modules on purpose and prints what no test noticed: `make mutants MODULES=… N=20 SEED=0`.

A *mutant* is the tree with one small change in one module: a condition negated, a comparison
swapped, a call dropped, a constant changed, a return value lost. The tests of that module run over
it; a mutant with which all of them pass *survives*, and shows a line that nothing holds in place.
Some survivors are equal to the original in what they do. The sample is drawn by a seed, so a second
run shows whether a new test kills what survived the first.

Which tests belong to a module: those of the nearest directory under `tests/` that mirrors its
package, the ones that import it first. TESTS= names others, such as a file of integration/.

Each mutant is a copy of the tree in a temporary directory and runs there, in a mount and a PID
namespace of its own: what it starts or mounts is gone with it. Network namespaces and cgroups are
the tests' own to remove, as ever.
"""

import argparse
import ast
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFINED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("catatonit", "--"),
)
"""Processes end with the first one of their PID namespace, and that one with us, also by kill -9.
Mounts go with the last process, so that the directory can always be removed."""
PASSED, FAILED, NOT_COLLECTED = 0, 1, 2
"""Exit codes of pytest. A mutant whose module or tests cannot be imported is noticed too."""

SWAPS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
}


@dataclass(frozen=True)
class Mutation:
    """Bytes `start` to `end` of a module become `after`."""

    module: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {_short(self.before)}  →  {_short(self.after)}"

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 70 else line[:69] + "…"


def mutations(module: Path, source: bytes) -> list[Mutation]:
    """Every change that this file knows for a module, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, after in _changes(ast.parse(source)):
        assert node.end_lineno is not None and node.end_col_offset is not None
        # Columns of the tree count bytes of UTF-8, not characters.
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = source[start:end].decode()
        found.append(Mutation(module, node.lineno, start, end, before, after))
    return sorted(found, key=lambda one: (one.start, one.end, one.after))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Nodes and the text that takes their place."""
    for node in _code(tree):
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield test, f"(not ({ast.unparse(test)}))"
            case ast.comprehension(ifs=[*tests]) if tests:
                yield tests[0], f"(not ({ast.unparse(tests[0])}))"
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                swapped = ast.Compare(left, [SWAPS[type(op)]], [right])
                yield node, f"({ast.unparse(swapped)})"
            case ast.BoolOp(op=op, values=values):
                other = ast.Or() if isinstance(op, ast.And) else ast.And()
                yield node, f"({ast.unparse(ast.BoolOp(other, values))})"
            case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield()):
                yield node, "pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
                yield node, "pass"
            case ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
                yield node, "pass"
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield node, "return None"
            case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
                first = body[1] if ast.get_docstring(node) and len(body) > 1 else body[0]
                if not isinstance(first, ast.Return | ast.Pass | ast.Expr):
                    yield first, "return None"
            case ast.Constant(value=bool() as value):
                yield node, str(not value)
            case ast.Constant(value=int() | float() as value):
                yield node, repr(value + 1)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, decorators, f-strings and patterns: no test is about those."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "pattern"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _code(child)


def belonging(root: Path, module: Path) -> list[str]:
    """Test files of the nearest mirrored directory, those that import the module first."""
    directory = root / "tests" / module.parent
    while not list(directory.glob("**/test_*.py")):
        directory = directory.parent
        if directory == root / "tests":
            raise SystemExit(f"mutants: no directory of tests/ mirrors {module}; name some: TESTS=")
    parent, stem = ".".join(module.parent.parts), module.stem
    imports = (f"from {parent}.{stem} import", f"from {parent} import {stem}")
    files = sorted(directory.glob("**/test_*.py"))
    near = [f for f in files if any(line in f.read_text() for line in imports)]
    return [str(f.relative_to(root)) for f in [*near, *(f for f in files if f not in near)]]


class Copies:
    """Copies of the tree, one after the other in the same temporary directory."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self.directory = directory

    @contextlib.contextmanager
    def fresh(self, mutation: Mutation | None = None) -> Iterator[Path]:
        """A new copy, mutated; it goes at the end with whatever was started in it."""
        copy = self.directory / "tree"
        for name in self._files():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / name, target)
        if mutation is not None:
            file = copy / mutation.module
            file.write_bytes(mutation.apply(file.read_bytes()))
        try:
            yield copy
        finally:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.rmtree(self.directory / "t", ignore_errors=True)

    def _files(self) -> list[str]:
        """What git tracks or would track, with its changes of now."""
        listed = ["git", "-C", str(self.root), "ls-files", "-coz", "--exclude-standard"]
        output = subprocess.run(listed, check=True, capture_output=True).stdout
        names = (os.fsdecode(name) for name in output.split(b"\0") if name)
        return [name for name in names if (self.root / name).is_file()]

    def test(self, copy: Path, tests: Sequence[str], seconds: float) -> int | None:
        """The exit code of pytest over these tests; None where it took longer."""
        pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command = [*CONFINED, *pytest, f"--basetemp={self.directory}/t", *tests]
        # The first name on the path wins over the editable install of the tree we are in.
        process = subprocess.Popen(
            command,
            cwd=copy,
            env={
                **os.environ,
                "PYTHONPATH": str(copy),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            # The first child is init of the PID namespace: the kernel kills all others with it,
            # and lets its parent know only when the last of them is gone.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGKILL)
            process.wait()
            return None


def run(copies: Copies, options: argparse.Namespace) -> int:
    """Draw, run and report; 1 where the tests fail without any mutation."""
    begin = time.monotonic()
    root, modules = options.root, options.modules
    chosen = {module: options.tests or belonging(root, module) for module in modules}
    limits = {}
    for module, names in chosen.items():
        with copies.fresh() as copy:
            started = time.monotonic()
            if (code := copies.test(copy, names, options.minutes * 60)) != PASSED:
                print(f"mutants: the tests of {module} fail unchanged (pytest: {code})")
                return 1
            limits[module] = 10 + 3 * (time.monotonic() - started)
    every = [m for module in modules for m in mutations(module, (root / module).read_bytes())]
    sample = random.Random(options.seed).sample(every, min(options.number, len(every)))
    survivors, done = [], 0
    for one in sample:
        if time.monotonic() - begin > options.minutes * 60:
            print(f"mutants: stopped after {options.minutes:g} minutes")
            break
        with copies.fresh(one) as copy:
            code = copies.test(copy, chosen[one.module], limits[one.module])
        done += 1
        if code not in (PASSED, FAILED, NOT_COLLECTED, None):
            print(f"mutants: pytest itself failed with {code} at {one}")
            return 1
        word = {PASSED: "survived", None: "timed out"}.get(code, "killed")
        print(f"{done:4}/{len(sample)} {word:9} {one}", flush=True)
        if code == PASSED:
            survivors.append(one)
    print(f"\n{done} of {len(every)} mutants tried, seed {options.seed}; {len(survivors)} survived")
    for one in sorted(survivors, key=lambda one: (str(one.module), one.start)):
        print(f"  {one}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "modules", nargs="+", type=Path, metavar="MODULE", help="such as berth/base/operations.py"
    )
    parser.add_argument(
        "--tests", nargs="*", default=[], help="instead of those that the mirror names"
    )
    parser.add_argument("--number", type=int, default=20, help="mutants to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15, help="no mutant is begun after these")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        return run(Copies(options.root, Path(directory)), options)


if __name__ == "__main__":
    sys.exit(main())
