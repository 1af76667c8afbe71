"""Findings of `check`: a line each, and the exit status of all."""

import pytest

from berth.base.findings import Finding, exit_status

OK = Finding.ok("crun 1.14 runs containers here")
WARNING = Finding.warning("no runtime listens", "start cri-shim")
ERROR = Finding.error("no conmon", "install the package conmon")


def test_a_line_has_level_text_and_remedy_in_columns() -> None:
    assert [str(finding) for finding in (OK, WARNING, ERROR)] == [
        "ok    crun 1.14 runs containers here",
        "warn  no runtime listens: start cri-shim",
        "ERROR no conmon: install the package conmon",
    ]


@pytest.mark.parametrize(("found", "status"), [([OK, WARNING], 0), ([OK, ERROR], 1), ([], 0)])
def test_only_errors_fail_the_check(found: list[Finding], status: int) -> None:
    assert exit_status(found) == status
