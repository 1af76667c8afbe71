"""A pytest plugin: what failed is run once more, alone, and named at the end of the output.

The tests drive real kernels, daemons and networks, and on a machine that stalls one of thousands
may miss its moment. A test that fails a second time fails the run. So do more than `MOST` tests
that failed a first time: then the tree is at fault, not the machine, and nothing is retried.

`scripts/test` loads it with `-p tests.support.retry`. It works with and without xdist, because the
process that schedules the tests gets every report and no worker does anything here.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

MOST = 3
"""How many tests may need their second run before the whole run fails."""


class Retry:
    """Failed tests of this run in the order of their first failure, without duplicates."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.failed: dict[str, None] = {}
        self.not_collected = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Set-up and tear-down count: a test whose daemon left something behind has failed.
        if report.failed:
            self.failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.not_collected |= report.failed

    # Outermost, so that the workers have gone and the summary is printed before anything is rerun.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield
        # After -x or an interrupt the rest of the tests has not run: a retry must not turn that
        # into a success. A file that cannot be imported fails every time.
        whole = not (session.shouldfail or session.shouldstop or self.not_collected)
        if self.failed and whole and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = self.retry(list(self.failed))

    def retry(self, names: list[str]) -> pytest.ExitCode:
        """Run each again and print which they were; the exit status of the whole run."""
        if len(names) > MOST:
            self.say(f"{len(names)} tests failed; with more than {MOST} none is retried:", *names)
            return pytest.ExitCode.TESTS_FAILED
        again = [name for name in names if not self.passes(name)]
        self.say(
            f"{len(names)} needed a second run, of which {len(again)} failed again:",
            *(f"{name} ({'failed twice' if name in again else 'passed alone'})" for name in names),
        )
        return pytest.ExitCode.TESTS_FAILED if again else pytest.ExitCode.OK

    def passes(self, name: str) -> bool:
        """Run one test in a process of its own, with fresh fixtures and nothing beside it."""
        self.say(f"once more, alone: {name}")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pytest", "-p", "no:xdist", name]
        return subprocess.run(command, cwd=self.config.rootpath, check=False).returncode == 0

    def say(self, *lines: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.ensure_newline()
        for line in lines:
            reporter.write_line(f"retry: {line}" if line is lines[0] else f"  {line}", bold=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Retry(config), "berth-retry")
