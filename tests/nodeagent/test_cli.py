"""The command line as a process: serve, ask, survive kill -9, end on SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionStub
from nodeagent import cli
from tests.nodeagent.agent_running import PLAN

SCENARIO = """
plan: {file: plan.yaml}
capacity: {slots: 10}
events:
- {at: 0s, request: {id: b, consumer: borrower, slots: 10, count: 10}}
- {at: 1s, request: {id: o, consumer: owner, slots: 8, count: 8}}
- {at: 40s, expect: {owner: 8, borrower: EXPECTED}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    places = {
        "socket": "node.sock",
        "state": "state",
        "plan": "plan.yaml",
        "cri_socket": "cri.sock",
    }
    lines = [f'{key} = "{tmp_path / name}"' for key, name in places.items()]
    file = tmp_path / "nodeagent.toml"
    file.write_text("\n".join([*lines, "[capacity]", "slots = 10", "cpu = 0", "memory = 0"]))
    return file


@contextmanager
def serving(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`nodeagent serve`, ready by its own word."""
    address = config.with_name("notify.sock")
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        notified.settimeout(20)
        command = [sys.executable, "-c", "from nodeagent.cli import main; raise SystemExit(main())"]
        process = subprocess.Popen(
            [*command, "serve", "--config", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
        )
        try:
            assert notified.recv(100) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.wait()


def ask(*arguments: str) -> int:
    return cli.main(arguments)


def admit(config: Path, uid: str, consumer: str, slots: int) -> str:
    with grpc.insecure_channel(f"unix:{config.with_name('node.sock')}") as channel:
        request = pb.AdmitRequest(
            pod_uid=uid,
            namespace="prod",
            name=uid,
            labels={"berth.dev/consumer": consumer},
            requested={"slots": slots},
        )
        stub = PodAdmissionStub(channel)
        return str(stub.Admit(request, timeout=5).WhichOneof("answer"))


def test_a_served_agent_answers_and_survives_kill_9(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--config", str(config))
    with serving(config) as process:
        assert admit(config, "b", "borrower", 10) == "admitted"
        assert admit(config, "o", "owner", 4) == "held"
        assert ask("status", *options, "--output", "json") == 0
        before = json.loads(capsys.readouterr().out)
        process.kill()
        process.wait()
    with serving(config) as process:
        assert ask("status", *options, "--output", "json") == 0
        assert json.loads(capsys.readouterr().out) == before
        (group,) = before["groups"]
        owner, borrower = group["consumers"]
        assert (owner["pending"], borrower["used"]) == ({"slots": 4}, {"slots": 10})
        assert borrower["borrowed"] == owner["lent"] == {"slots": 8}
        assert owner["deadline"] == borrower["deadline"] > 0
        assert group["loans"] == [
            {"resource": "slots", "borrower": "borrower", "lender": "owner", "amount": 8}
        ]
        assert ask("status", *options) == 0
        table = capsys.readouterr().out.splitlines()
        assert " ".join(table[0].split()) == (
            "GROUP CONSUMER RESOURCE OWN DESERVED USED BORROWED LENT PENDING DEADLINE"
        )
        assert " ".join(table[2].split()).startswith("default borrower slots 2 2 10 8 0")
        assert ask("explain", *options, "prod/o") == 0
        assert "pod prod/o (o)" in capsys.readouterr().out
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not config.with_name("node.sock").exists()


def test_plans_by_command(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--config", str(config))
    other, bad = tmp_path / "other.yaml", tmp_path / "bad.yaml"
    other.write_text(PLAN.replace("two", "other"))
    bad.write_text(PLAN.replace("share: 1", "share: -1"))
    assert ask("plan", "check", str(other)) == 0
    assert "plan other is valid" in capsys.readouterr().out
    assert ask("plan", "check", str(bad)) == 1
    assert "consumers[1].share" in capsys.readouterr().err
    with serving(config):
        assert ask("plan", "apply", str(bad), *options) == 1
        assert ask("plan", "apply", str(other), *options) == 0
        capsys.readouterr()
        assert ask("plan", "show", *options) == 0
        shown = capsys.readouterr().out
        (tmp_path / "shown.yaml").write_text(shown)
        assert ask("plan", "check", str(tmp_path / "shown.yaml")) == 0
        assert ask("explain", "nobody", *options) == 1
        assert "no pod or allocation 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(("expected", "status"), [("2", 0), ("3", 1), ("x", 2)])
def test_simulate(
    config: Path, capsys: pytest.CaptureFixture[str], expected: str, status: int
) -> None:
    file = config.with_name("scenario.yaml")
    file.write_text(SCENARIO.replace("EXPECTED", expected))
    assert ask("simulate", str(file), "--output", "json") == status
    output = capsys.readouterr()
    if status == 2:
        assert "events[2].expect" in output.err
        return
    result = json.loads(output.out)
    assert result["steps"][0]["at"] == "0s"
    assert len(result["failed_expectations"]) == status
    assert ask("simulate", str(file)) == status
    table = capsys.readouterr().out
    assert ("expected borrower to hold 3 slots, it holds 2" in table) == bool(status)


def test_wrong_input_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ask("status", "--config", str(config)) == 1
    assert capsys.readouterr().err.startswith("nodeagent: no agent listens on")
    assert ask("status", "--config", str(config), "--set", "sokket=1") == 1
    assert "unknown key sokket" in capsys.readouterr().err
    assert ask("simulate", str(tmp_path / "absent.yaml")) == 2
    assert "No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        ask("devices")
    assert caught.value.code == 2


def test_version_and_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("version") == 0
    assert capsys.readouterr().out.startswith("nodeagent ")
    assert ask("check", "--config", str(config)) == 0
    assert "no runtime answers" in capsys.readouterr().out
    config.with_name("plan.yaml").write_text("spec: 3")
    assert ask("check", "--config", str(config)) == 1
    assert "ERROR" in capsys.readouterr().out
