"""The shim's configuration: strict, in order, and printed as it can be read again."""

from pathlib import Path

import pytest

from berth.base.configuration import render
from berth.base.errors import InvalidArgument
from cri_shim.config import Config, load


def test_defaults_are_those_of_the_interface() -> None:
    config = Config()
    assert (config.root, config.state) == ("/var/lib/berth/cri", "/run/berth/cri")
    assert config.listen == "/run/berth/cri.sock"
    assert config.network.mode == "auto"


def test_file_then_drop_ins_then_sets(tmp_path: Path) -> None:
    main = tmp_path / "cri-shim.toml"
    main.write_text('root = "/a"\nstate = "/a"\nlisten = "/a"\n[network]\nbridge = "b1"\n')
    drop_ins = tmp_path / "cri-shim.d"
    drop_ins.mkdir()
    (drop_ins / "20.toml").write_text('state = "/c"\n')
    (drop_ins / "10.toml").write_text('state = "/b"\nlisten = "/b"\n[network]\nmode = "none"\n')
    config = load(main, ["listen=/d"])
    assert (config.root, config.state, config.listen) == ("/a", "/c", "/d")
    assert (config.network.bridge, config.network.mode) == ("b1", "none")


def test_what_is_printed_reads_back_equal(tmp_path: Path) -> None:
    sets = ['images.mirrors={"a.b"=["http://c"]}', "runtime.handlers.x.type=runc", 'root="/a\\"b"']
    config = load(tmp_path_file(tmp_path, ""), sets)
    assert load(tmp_path_file(tmp_path, render(config))) == config


def tmp_path_file(directory: Path, text: str) -> Path:
    path = directory / "f.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rot = 1", "unknown key rot; known: admission"),
        ("[network]\nmod = 1", "unknown key network.mod;"),
        ("[runtime.handlers.x]\nbin = 1", "unknown key runtime.handlers.x.bin"),
        ("root = 5", "root is 5; accepted: a string"),
        ('[network]\nmode = "x"', "network.mode is 'x'; accepted: auto, cni, bridge, none"),
        ("[images]\nmax_concurrent_downloads = true", "max_concurrent_downloads is True"),
        ('[runtime]\ndefault = "y"', "runtime.default is 'y'"),
        ("[network]\nsubnet = [1]", "network.subnet is .1.; accepted: a list of strings"),
        ("network = 3", "network is 3; accepted: a table"),
        ("root = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as error:
        load(tmp_path_file(tmp_path, text))
    assert "f.toml" in str(error.value)


def test_a_missing_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")


def test_set_needs_key_and_value() -> None:
    with pytest.raises(InvalidArgument, match="KEY=VALUE"):
        load(None, ["root"])
