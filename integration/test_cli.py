"""The command line, as a person uses it against a running daemon."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import busybox, pods
from tests.support.registry import running as registry_running
from tests.support.shim import BIN, Shim


def cri_shim(shim: Shim, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [BIN / "cri-shim", *words, *shim.flags()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pull_and_list_and_save_and_load(shim: Shim, tmp_path: Path) -> None:
    with registry_running(tmp_path / "registry") as registry:
        reference = registry.push("team/app", busybox.image(Cmd=["/bin/true"]))
        pulled = cri_shim(shim, "image", "pull", reference)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"{reference}  sha256:")
    assert "done" in pulled.stderr or "present" in pulled.stderr
    listed = cri_shim(shim, "image", "ls").stdout
    assert reference in listed
    archive = tmp_path / "app.tar"
    assert cri_shim(shim, "image", "save", reference, str(archive)).returncode == 0
    assert cri_shim(shim, "image", "rm", reference).returncode == 0
    assert reference not in cri_shim(shim, "image", "ls").stdout
    loaded = cri_shim(shim, "image", "load", str(archive))
    assert loaded.stdout.startswith(reference)
    assert cri_shim(shim, "image", "rm", reference).returncode == 0


def test_pull_from_nobody(shim: Shim) -> None:
    done = cri_shim(shim, "image", "pull", "127.0.0.1:1/none/none:1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cri-shim: RegistryUnavailable:")


def test_ps_and_spec(shim: Shim, image: str) -> None:
    config = pods.pod_config("shown")
    pod = pods.run_pod(shim, config)
    container = pods.run_container(shim, pod, pods.container_config(image), config)
    [row] = [r for r in cri_shim(shim, "ps").stdout.splitlines() if r.startswith("test/shown")]
    assert row.split() == ["test/shown", "ready", "c", "running", container[:13], image]
    document = json.loads(cri_shim(shim, "spec", container[:12]).stdout)
    assert document["process"]["args"] == ["/bin/sleep", "1000"]


def test_check_finds_this_host_good(shim: Shim) -> None:
    done = cri_shim(shim, "check")
    assert done.returncode == 0, done.stdout
    assert "runs containers here" in done.stdout


def test_check_names_what_is_missing(shim: Shim) -> None:
    command = [BIN / "cri-shim", "check", *shim.flags()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}
    )
    assert done.returncode == 1
    assert "ERROR no conmon: install the package conmon" in done.stdout


def test_config_and_version(shim: Shim) -> None:
    assert f'listen = "{shim.socket}"' in cri_shim(shim, "config").stdout
    assert 'listen = "/run/berth/cri.sock"' in cri_shim(shim, "config", "--default").stdout
    assert "CRI runtime.v1" in cri_shim(shim, "version").stdout


@pytest.mark.parametrize("words", [("ps",), ("image", "ls"), ("spec", "x")])
def test_without_a_daemon(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [BIN / "cri-shim", *words, "--set", f"listen={tmp_path}/none.sock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr and "cri-shim serve" in done.stderr


def test_unknown_configuration_key(tmp_path: Path) -> None:
    config = tmp_path / "shim.toml"
    config.write_text("[network]\nmodus = 1\n")
    command = [BIN / "cri-shim", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "network.modus" in done.stderr and "Traceback" not in done.stderr
