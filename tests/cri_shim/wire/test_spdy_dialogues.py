"""Byte-exact SPDY dialogues, each also with every byte sent by itself."""

from pathlib import Path

import pytest

from tests.cri_shim.wire.playbook import play

SCRIPTS = sorted((Path(__file__).parents[2] / "golden" / "spdy").glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [0, 1, 3])
def test_dialogue(script: Path, step: int) -> None:
    play(script, step)


def test_there_are_dialogues() -> None:
    assert len(SCRIPTS) >= 11
