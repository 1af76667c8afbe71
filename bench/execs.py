"""Commands and connections through a running daemon and real containers.

ExecSync eight at a time against as many of the bare OCI runtime's own `exec`, in turns; a gibibyte
through exec and port-forward, each way, with the growth of the daemon's memory.

    python -m bench execs
"""

import concurrent.futures
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import streaming
from bench.daemon import IMAGE, daemon
from bench.pods import SLEEP, Bare, bare, remove_pod
from bench.result import Result, ratio, value
from berth.pb import runtime_v1_pb2 as cri
from tests.support import crun_host, pods, streams
from tests.support.shim import Shim

WAYS = 8
EXECS = 80
ROUNDS = 7
SIZE = 1 << 30
GROWTH = 20
"""MB that the daemon may grow by."""
SOURCE, SINK = 8080, 9000
ZEROS = f"dd if=/dev/zero bs=1M count={SIZE >> 20}"
SERVE = f"nc -ll -p {SOURCE} -e {ZEROS} & nc -ll -p {SINK} -e sh -c '{streaming.DRAIN}' & wait"


def run() -> list[Result]:
    """With runc here, with crun in a mount namespace where it works."""
    command = crun_host.command(sys.executable, "-m", "bench.execs", "crun")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: list[Result] = json.loads(done.stdout)
    return measure("runc") + found


def measure(kind: str) -> list[Result]:
    with daemon(kind) as shim:
        found = _together(shim, kind, shim.directory.parent)
        return found + (_streams(shim) if kind == "runc" else [])


def _together(shim: Shim, kind: str, directory: Path) -> list[Result]:
    """The rates of /bin/true in a running container."""
    pod = pods.run_pod(shim)
    container = pods.run_container(shim, pod, pods.container_config(IMAGE, SLEEP))
    ours: list[float] = []
    theirs: list[float] = []
    with (
        bare(shim, kind, directory) as runtime,
        concurrent.futures.ThreadPoolExecutor(WAYS) as pool,
    ):
        runtime.up()
        for _ in range(ROUNDS):
            theirs.append(_rate(lambda: _bare_execs(runtime)))
            ours.append(
                _rate(lambda: list(pool.map(lambda _: true(shim, container), range(EXECS))))
            )
        runtime.down()
    remove_pod(shim, pod)
    name = f"{kind}: ExecSync {WAYS}-way"
    return [
        value(f"{name}, bare exec", theirs, "1/s"),
        value(name, ours, "1/s"),
        ratio(f"{name} / bare exec {WAYS}-way", ours, theirs, at_least=0.8),
    ]


def _rate(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return EXECS / (time.perf_counter() - began)


def _bare_execs(runtime: Bare) -> None:
    """By xargs, which costs next to nothing."""
    words = ["xargs", "-P", str(WAYS), "-I{}", *runtime.execute_words()]
    lines = "\n".join(map(str, range(EXECS))).encode()
    subprocess.run(words, input=lines, check=True, stdout=subprocess.DEVNULL)


def true(shim: Shim, container: str) -> None:
    assert pods.execute(shim, container, "/bin/true", timeout=60).exit_code == 0


def _streams(shim: Shim) -> list[Result]:
    config = pods.pod_config(host_network=False)
    pod = pods.run_pod(shim, config)
    serving = pods.container_config(IMAGE, ["/bin/sh", "-c", SERVE])
    container = pods.run_container(shim, pod, serving, config)
    listen = f"netstat -ltn | grep -q :{SOURCE} && netstat -ltn | grep -q :{SINK}"
    pods.until(lambda: pods.execute(shim, container, "sh", "-c", listen).exit_code == 0, "up")
    found: list[Result] = []
    for kind, url, port in (
        ("exec-out", lambda: _exec(shim, container, ZEROS), 0),
        ("exec-in", lambda: _exec(shim, container, streaming.DRAIN), 0),
        ("forward-out", lambda: streams.forward_url(shim, pod), SOURCE),
        ("forward-in", lambda: streams.forward_url(shim, pod), SINK),
    ):
        found += _stream(shim, kind, url, port)
    remove_pod(shim, pod)
    return found


def _exec(shim: Shim, container: str, script: str) -> str:
    request = cri.ExecRequest(
        container_id=container, cmd=["sh", "-c", script], stdin=True, stdout=True
    )
    return str(shim.runtime.Exec(request).url)


def _stream(shim: Shim, kind: str, url: Callable[[], str], port: int) -> list[Result]:
    rates, growths = [], []
    for _ in range(3):
        peak = streams.Peak(shim)
        client = streaming.start("client", kind, url(), str(port or ""), str(SIZE))
        said, _ = client.communicate()
        rates.append(SIZE / float(said) / 1e6)
        growths.append(peak.growth() / 1e6)
    name = f"daemon: 1 GiB by {kind}"
    return [
        value(name, rates, "MB/s", at_least=streaming.TARGET),
        value(f"{name}, growth of memory", growths, "MB", at_most=GROWTH),
    ]


if __name__ == "__main__":
    json.dump(measure(sys.argv[1]), sys.stdout)
