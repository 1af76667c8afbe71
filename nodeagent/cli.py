"""The command line: `nodeagent serve` is the daemon, the other commands call it or work alone."""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from berth.base.errors import BerthError
from berth.base.findings import exit_status
from berth.pb import node_v1_pb2 as pb
from nodeagent import daemon
from nodeagent.allocator.plan.plan_reading import parse_plan
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.api.client import SECONDS, agent
from nodeagent.api.tables import status_json, status_table, steps_table
from nodeagent.config import Config, load
from nodeagent.ledger.journal.errors import JournalError
from nodeagent.plan_files import read_yaml_file
from nodeagent.preflight import findings
from nodeagent.simulate.replay import simulate

_FAILURES = (BerthError, JournalError, OSError, ValueError)
"""Errors whose message says what to do; anything else is a defect, and shows its traceback."""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 refused or failed, 2 wrong usage or file."""
    options = _parser().parse_args(arguments)
    command: Command = options.run
    try:
        return command(options)
    except _FAILURES as error:
        print(f"nodeagent: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nodeagent", description="The node's resource manager.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _common()
    _add(commands, "serve", _serve, "run the agent", common)
    status = _add(commands, "status", _status, "who owns, borrows and lends what now", common)
    _add_output(status)
    _add_plan(commands, common)
    simulate = _add(commands, "simulate", _simulate, "replay a scenario file in virtual time")
    simulate.add_argument("file", type=Path)
    _add_output(simulate)
    explain = _add(commands, "explain", _explain, "why a pod holds, waits or was reclaimed", common)
    explain.add_argument("pod", help="namespace/name or uid of a pod, or id of an allocation")
    _add(commands, "check", _check, "whether the agent could run here", common)
    _add(commands, "version", _version, "print the version")
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    common.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    return common


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Command,
    text: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, parents=list(parents))
    parser.set_defaults(run=run)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("table", "json"), default="table")


def _add_plan(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
) -> None:
    plan = commands.add_parser("plan", help="check, apply or show a plan")
    verbs = plan.add_subparsers(required=True, metavar="VERB")
    for name, run, text in (
        ("check", _plan_check, "whether a plan file is valid"),
        ("apply", _plan_apply, "put a plan file in force"),
    ):
        _add(verbs, name, run, text, common).add_argument("file", type=Path)
    _add(verbs, "show", _plan_show, "print the plan in force", common)


def _config(options: argparse.Namespace) -> Config:
    return load(options.config, options.sets)


def _serve(options: argparse.Namespace) -> int:
    config = _config(options)
    level = getattr(logging, config.log_level.upper())
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(daemon.serve(config))
    return 0


def _status(options: argparse.Namespace) -> int:
    with agent(_config(options).socket) as stub:
        status = stub.Status(pb.StatusRequest(), timeout=SECONDS)
    print(status_json(status) if options.output == "json" else status_table(status))
    return 0


def _plan_check(options: argparse.Namespace) -> int:
    plan = parse_plan(read_yaml_file(options.file), ZoneInfo)
    groups = ", ".join(group.name for group in plan.groups)
    print(f"{options.file}: plan {plan.name} is valid (groups: {groups})")
    return 0


def _plan_apply(options: argparse.Namespace) -> int:
    # Checked here first, so that problems name the file; the agent gets its text without a name.
    parse_plan(read_yaml_file(options.file), ZoneInfo)
    with agent(_config(options).socket) as stub:
        request = pb.PlanApplyRequest(document=options.file.read_text("utf-8"))
        response = stub.PlanApply(request, timeout=SECONDS)
    print(f"plan {response.name} is in force")
    return 0


def _plan_show(options: argparse.Namespace) -> int:
    with agent(_config(options).socket) as stub:
        response = stub.PlanShow(pb.PlanShowRequest(), timeout=SECONDS)
    # The agent sends JSON, which is YAML too; people write plans in blocks.
    print(yaml.safe_dump(yaml.safe_load(response.document), sort_keys=False), end="")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    """Exit status 1 if an expectation fails, 2 for a bad file."""

    def load_file(name: str) -> object:
        return read_yaml_file(options.file.parent / name)

    try:
        result = simulate(read_yaml_file(options.file), ZoneInfo, load_file)
    except DocumentRefused as error:
        print(f"nodeagent: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2) if options.output == "json" else steps_table(result))
    return 1 if result["failed_expectations"] else 0


def _explain(options: argparse.Namespace) -> int:
    with agent(_config(options).socket) as stub:
        response = stub.Explain(pb.ExplainRequest(name=options.pod), timeout=SECONDS)
    print("\n".join(response.lines))
    return 0


def _check(options: argparse.Namespace) -> int:
    found = findings(_config(options))
    for finding in found:
        print(finding)
    return exit_status(found)


def _version(options: argparse.Namespace) -> int:
    print(f"nodeagent {version('berth')}")
    return 0
