"""Proves the invariants on random trees, many of them: `python -m tests.proof [--trees N]`.

Every seed is one tree; a seed that fails is printed and can be run alone with `--first SEED
--trees 1`. Most trees are checked in the fluid model, one in a hundred runs a whole allocator too.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator

from tests.nodeagent.allocator.fluid import check_tree
from tests.nodeagent.allocator.runs import check_run

CHUNK = 2_000
RUN_EVERY = 100


def prove(first: int, count: int) -> list[tuple[int, str]]:
    """Check trees by seed; the seeds that failed and why."""
    failures = []
    for seed in range(first, first + count):
        try:
            check_tree(seed)
            if seed % RUN_EVERY == 0:
                check_run(seed, 25)
        except Exception:  # every kind of failure is a finding
            failures.append((seed, traceback.format_exc(limit=-2)))
    return failures


def _prove(chunk: tuple[int, int]) -> tuple[int, list[tuple[int, str]]]:
    return chunk[1], prove(*chunk)


def _chunks(first: int, trees: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + trees, CHUNK):
        yield start, min(CHUNK, first + trees - start)


def main() -> int:
    """Check all trees on all cores; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    begin, done, failed = time.monotonic(), 0, 0
    with multiprocessing.get_context("forkserver").Pool(options.jobs) as workers:
        for count, failures in workers.imap(_prove, _chunks(options.first, options.trees)):
            done, failed = done + count, failed + len(failures)
            for seed, text in failures[:3]:
                print(f"seed {seed}:\n{text}", flush=True)
            spent = time.monotonic() - begin
            if sys.stderr.isatty() or done % (CHUNK * 25) == 0 or done == options.trees:
                print(f"{done:,} trees, {failed} failed, {spent:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
