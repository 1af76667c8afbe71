"""Run the benchmarks, print their figures beside the targets, write bench/out/bench.json.

    python -m bench [NAME...]      all, or those of the modules named

Timings belong to the machine and its moment: read the ratios.
"""

import importlib
import json
import sys
from pathlib import Path

from bench.result import Result

MODULES = (
    "pods",
    "usage",
    "network",
    "pod_network",
    "images",
    "streaming",
    "execs",
    "allocator",
    "admission",
    "journal",
)
OUT = Path(__file__).parent / "out" / "bench.json"


def main(names: list[str]) -> int:
    """Returns 1 where a figure misses its target."""
    results: list[Result] = []
    for name in names or MODULES:
        print(f"{name} …", file=sys.stderr)
        found: list[Result] = importlib.import_module(f"bench.{name}").run()
        for result in found:
            print(line(result), flush=True)
        results += found
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    missed = [r["name"] for r in results if not r.get("met", True)]
    print(f"{len(results)} figures, {len(missed)} miss their target; {OUT}", file=sys.stderr)
    return 1 if missed else 0


def line(result: Result) -> str:
    figure = result.get("ratio", result.get("value", 0.0))
    sign = {True: "ok  ", False: "MISS"}.get(result.get("met"), "    ")  # type: ignore[arg-type]
    shown = f"{figure:,.3g}" if figure < 1000 else f"{figure:,.0f}"
    words = f"{sign} {result['name']:<58} {shown:>9} {result.get('unit', ''):<6}"
    target = result.get("target") or "-"
    return f"{words} target {target:<10} spread {result.get('spread', '-')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
