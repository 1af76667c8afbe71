"""Pairs of port-forward streams."""

import pytest

from cri_shim.wire.port_forward import (
    Half,
    HalfTaken,
    Offer,
    Pair,
    PairTable,
    StreamRefused,
    parse_port,
    port_preamble,
    read_offer,
)


def offer(
    half: str, port: str = "8080", request_id: str | None = "0"
) -> tuple[tuple[bytes, bytes], ...]:
    headers = [(b"streamtype", half.encode()), (b"port", port.encode())]
    if request_id is not None:
        headers.append((b"requestid", request_id.encode()))
    return tuple(headers)


@pytest.mark.parametrize("order", [("data", "error"), ("error", "data")])
def test_a_pair_is_complete_in_any_order(order: tuple[str, str]) -> None:
    table = PairTable()
    assert table.add(1, read_offer(1, offer(order[0]))) is None
    assert table.waits("0")
    pair = table.add(3, read_offer(3, offer(order[1])))
    data, error = (1, 3) if order[0] == "data" else (3, 1)
    assert pair == Pair("0", 8080, data, error)
    assert not table.waits("0")


def test_clients_without_request_ids_open_error_then_data() -> None:
    table = PairTable()
    for first in (1, 5):
        assert table.add(first, read_offer(first, offer("error", request_id=None))) is None
        assert table.add(first + 2, read_offer(first + 2, offer("data", request_id=None)))


def test_pairs_do_not_mix() -> None:
    table = PairTable()
    assert table.add(1, Offer(Half.ERROR, 1, "a")) is None
    assert table.add(3, Offer(Half.DATA, 2, "b")) is None
    assert table.add(5, Offer(Half.DATA, 1, "a")) == Pair("a", 1, 5, 1)
    assert table.drop("b") == (3,)
    assert table.drop("b") == ()


def test_a_half_twice() -> None:
    table = PairTable()
    table.add(1, Offer(Half.ERROR, 80, "a"))
    with pytest.raises(HalfTaken, match="error stream already assigned") as raised:
        table.add(3, Offer(Half.ERROR, 80, "a"))
    assert raised.value.error_stream == 1
    table.drop_stream(1)
    assert not table.waits("a")


@pytest.mark.parametrize("text", [b"", b"0", b"65536", b"-1", b"8 0", b"x", b"\xb2", b"000080"])
def test_bad_ports(text: bytes) -> None:
    with pytest.raises(StreamRefused):
        parse_port(text)


@pytest.mark.parametrize("half", ["", "stdin", "Data", "\xff"])
def test_bad_stream_types(half: str) -> None:
    with pytest.raises(StreamRefused):
        read_offer(1, offer(half))


def test_the_preamble_is_little_endian() -> None:
    assert port_preamble(8080) == b"\x90\x1f"
