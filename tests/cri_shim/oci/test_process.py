"""Arguments, environment, working directory, exec, annotations, signals, limits."""

import json
from dataclasses import replace
from typing import Any

import pytest

from berth.base.errors import InvalidArgument
from berth.cdi.edits import Edits
from cri_shim.model.image import ImageConfig
from cri_shim.model.security import Capabilities
from cri_shim.oci import capabilities, signals
from cri_shim.oci.document import annotations, compose, render
from cri_shim.oci.facts import Rlimit
from cri_shim.oci.process import (
    DEFAULT_PATH,
    arguments,
    environment,
    exec_process,
    oom_score_adj,
    rlimits,
    working_directory,
)
from tests.cri_shim.oci.oci_inputs import FACTS, config, resolved, spec

IMAGE = ImageConfig(entrypoint=("/entry",), cmd=("a", "b"))


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ["/entry", "a", "b"]),
        (("/cmd",), (), ["/cmd"]),
        (("/cmd",), ("x",), ["/cmd", "x"]),
        ((), ("x",), ["/entry", "x"]),
    ],
)
def test_arguments(command: tuple[str, ...], args: tuple[str, ...], expected: list[str]) -> None:
    assert arguments(spec(command=command, args=args), IMAGE) == expected


def test_no_command_anywhere() -> None:
    with pytest.raises(InvalidArgument, match="image nginx has no command and the container gives"):
        arguments(spec(), ImageConfig())
    with pytest.raises(InvalidArgument, match="first word is empty"):
        arguments(spec(command=("",)), IMAGE)


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_words_that_no_process_can_have(word: str) -> None:
    with pytest.raises(InvalidArgument, match="command has a"):
        arguments(spec(), ImageConfig(cmd=("x", word)))


def test_environment_order() -> None:
    image = ImageConfig(env=("A=image", "B=image", "C=image", "broken", "=x", "D=1=2"))
    found = environment(
        spec(envs=(("B", b"config"), ("C", b"config"), ("E", b"\xff\xfe"))),
        replace(FACTS, image=image, cdi=Edits(env=("C=cdi",))),
    )
    assert found == [
        f"PATH={DEFAULT_PATH}",
        "HOSTNAME=web-0",
        "A=image",
        "B=config",
        "C=cdi",
        "D=1=2",
        "E=\udcff\udcfe",
    ]


def test_a_terminal_has_a_kind() -> None:
    assert "TERM=xterm" in environment(spec(tty=True), FACTS)
    assert "TERM=xterm" not in environment(spec(tty=True, envs=(("TERM", b"dumb"),)), FACTS)
    assert not any(e.startswith("TERM=") for e in environment(spec(), FACTS))


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [("", "", "/"), ("", "/srv", "/srv"), ("/w", "/srv", "/w"), ("", "app", "/app")],
)
def test_working_directory(asked: str, image: str, expected: str) -> None:
    assert working_directory(spec(working_dir=asked), ImageConfig(working_dir=image)) == expected


def test_bytes_that_json_cannot_carry() -> None:
    found = spec(envs=(("X", b"\xff\xfe!"),), command=("/bin/caf\u00e9",))
    data = render(compose(found, resolved(found)))
    assert '"X=\ufffd\ufffd!"'.encode() in data
    assert "/bin/café".encode() in data


def test_exec_has_the_process_of_its_container() -> None:
    found = spec()
    document = compose(found, resolved(found))
    before = json.dumps(document)
    process = exec_process(document, ["ls", "-l"], tty=True)
    assert process["args"] == ["ls", "-l"]
    assert process["terminal"] is True
    assert process["env"][-1] == "TERM=xterm"
    assert process["capabilities"] == document["process"]["capabilities"]
    assert json.dumps(document) == before
    with pytest.raises(InvalidArgument, match="cmd is empty"):
        exec_process(document, [], tty=False)
    with pytest.raises(InvalidArgument, match=r"cmd\[1\] has a NUL"):
        exec_process(document, ["a", "\0"], tty=False)


def test_annotations_by_the_allow_list_only() -> None:
    facts = replace(
        FACTS,
        allowed_annotations=("run.oci/*", "exact"),
        pod_annotations={"run.oci/a": "pod", "run.oci/b": "pod", "exactly": "no"},
        annotations={"own": "1"},
    )
    found = annotations(spec(annotations={"run.oci/b": "c", "exact": "c", "x": "no"}), facts)
    assert found == {"run.oci/a": "pod", "run.oci/b": "c", "exact": "c", "own": "1"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15), ("term", 15), ("15", 15), ("sigkill", 9), ("RTMIN+3", 37),
        ("SIGRTMIN", 34),
        ("SIGRTMAX-1", 63), ("64", 64), ("SIGPOLL", 29), ("SIGCLD", 17),
    ],
)  # fmt: skip
def test_signal_numbers(text: str, number: int) -> None:
    assert signals.number(text) == number
    assert signals.number(signals.name(number)) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+31", "RTMAX+1", "RTMIN-1", "٣", "1.5"]
)
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a signal"):
        signals.number(text)


def test_every_number_has_a_name_of_its_own() -> None:
    numbers = [*range(1, 32), *range(34, 65)]
    assert [signals.number(signals.name(n)) for n in numbers] == numbers


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [("", "", "SIGTERM"), ("", "SIGQUIT", "SIGQUIT"), ("SIGRTMIN+3", "9", "SIGRTMIN+3"),
     ("", "3", "SIGQUIT"), ("", "usr1", "SIGUSR1")],
)  # fmt: skip
def test_stop_signal(asked: str, image: str, expected: str) -> None:
    assert signals.stop_signal(asked, image) == expected


def test_rlimits_stay_within_the_own_ones() -> None:
    limits = (Rlimit("RLIMIT_NOFILE", 1 << 20, 1 << 20), Rlimit("RLIMIT_CORE", 0, 0))
    facts = replace(FACTS, rlimits=limits, own_rlimits={"RLIMIT_NOFILE": 4096})
    assert rlimits(facts)[0]["hard"] == 1 << 20
    held = rlimits(replace(facts, raise_rlimits=False))
    assert held[0] == {"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}
    assert held[1]["hard"] == 0


def test_oom_score_has_a_floor() -> None:
    assert oom_score_adj(-998, replace(FACTS, oom_floor=0)) == 0
    assert oom_score_adj(-998, FACTS) == -998
    assert oom_score_adj(999, replace(FACTS, oom_floor=0)) == 999


ALL = capabilities.known(40)


def _sets(privileged: bool = False, allowed: frozenset[str] = ALL, **asked: Any) -> Any:
    return capabilities.sets(Capabilities(**asked), privileged, allowed)


def test_default_capabilities() -> None:
    found = _sets()
    assert set(found["permitted"]) == capabilities.DEFAULT
    assert len(found["permitted"]) == 14
    assert found["permitted"] == found["bounding"] == found["effective"]
    assert "inheritable" not in found


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (("CAP_NET_ADMIN",), (), capabilities.DEFAULT | {"CAP_NET_ADMIN"}),
        ((), ("CAP_NET_RAW",), capabilities.DEFAULT - {"CAP_NET_RAW"}),
        (("CAP_CHOWN",), ("ALL",), {"CAP_CHOWN"}),
        (("ALL",), (), ALL),
        (("ALL",), ("CAP_SYS_ADMIN",), ALL - {"CAP_SYS_ADMIN"}),
        (("ALL",), ("ALL",), set()),
        (("CAP_KILL",), ("CAP_KILL",), capabilities.DEFAULT - {"CAP_KILL"}),
    ],
)
def test_add_and_drop(add: Any, drop: Any, expected: set[str]) -> None:
    assert set(_sets(add=add, drop=drop)["bounding"]) == expected


def test_capabilities_stay_within_the_host() -> None:
    allowed = ALL - {"CAP_SYS_RESOURCE"}
    assert set(_sets(privileged=True, allowed=allowed)["bounding"]) == allowed


def test_ambient_capabilities() -> None:
    found = _sets(add=("CAP_NET_ADMIN",), ambient=("CAP_NET_ADMIN",))
    assert found["ambient"] == found["inheritable"] == ["CAP_NET_ADMIN"]
    assert _sets(ambient=("ALL",))["ambient"] == _sets()["permitted"]
    with pytest.raises(InvalidArgument, match="ambient capability CAP_NET_ADMIN"):
        _sets(ambient=("CAP_NET_ADMIN",))


def test_capabilities_that_do_not_exist() -> None:
    with pytest.raises(InvalidArgument, match="'CAP_FOO' does not exist"):
        _sets(drop=("CAP_FOO",))


def test_a_user_namespace_gives_every_capability() -> None:
    message = config()
    options = message.linux.security_context.namespace_options.userns_options
    for mappings in (options.uids, options.gids):
        mappings.add(container_id=0, host_id=100000, length=65536)
    message.linux.security_context.privileged = True
    found = spec(message)
    document = compose(found, resolved(found, capabilities=frozenset({"CAP_CHOWN"})))
    assert len(document["process"]["capabilities"]["bounding"]) == 41


def test_masks_and_names() -> None:
    assert capabilities.from_mask(0xA80425FB) == capabilities.DEFAULT
    assert capabilities.known(3) == {
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
    }  # fmt: skip
