"""The agent's configuration: sources in order, and errors that name source and key."""

from pathlib import Path

import pytest

from berth.base.errors import InvalidArgument
from nodeagent.config import Config, load


def write(directory: Path, **files: str) -> Path:
    main = directory / "nodeagent.toml"
    (directory / "nodeagent.d").mkdir()
    for name, text in files.items():
        path = main if name == "main" else directory / "nodeagent.d" / f"{name}.toml"
        path.write_text(text)
    return main


def test_later_sources_win(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='socket = "/run/a.sock"\nstate = "/a"\n[capacity]\ncpu = 4\nmemory = "8Gi"',
        a='state = "/b"\n[capacity]\ncpu = "2500m"',
        b='state = "/c"\n[queues]\n"gold" = "research"',
    )
    config = load(main, ['state="/d"', "log_level=debug", 'capacity."nvidia.com/gpu"=2'])
    assert (config.socket, config.state) == (Path("/run/a.sock"), Path("/d"))
    assert config.capacity == {"cpu": 2500, "memory": 8 << 30, "nvidia.com/gpu": 2}
    assert config.queues == {"gold": "research"}
    assert config.log_level == "debug"


def test_defaults() -> None:
    assert Config().socket == Path("/run/berth/node.sock")
    assert load(None, ["state=/x"]).state == Path("/x")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sokket = 1", r"nodeagent\.toml: unknown key sokket; known: .*socket"),
        ('socket = "run"', "socket is 'run'; accepted: an absolute path"),
        ("socket = 3", "socket is 3"),
        ('log_level = "loud"', "log_level is 'loud'; accepted: debug"),
        ('[capacity]\ncpu = "4Q"', "capacity.cpu is '4Q'; accepted: cores"),
        ("[capacity]\ncpu = true", "capacity.cpu is True"),
        ("capacity = 1", "capacity is 1"),
        ("queues = 1", "queues is 1; accepted: a table"),
        ('[queues]\n"a" = 1', "queues.a is 1"),
        ("slices = {gpu = {cpu = -1}}", "slices.gpu.cpu is -1"),
        ("socket = ", "is not TOML"),
    ],
)
def test_wrong_keys_and_values(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        load(write(tmp_path, main=text))


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("state", "write KEY=VALUE"),
        ("=x", "write KEY=VALUE"),
        ("a b=c", "is not a key"),
        ("x=1", "x"),
    ],
)
def test_wrong_assignments(assignment: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        load(None, [assignment])


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        load(tmp_path / "absent.toml")
