"""Platforms, challenges, credentials, endpoints, manifests: values made from foreign text."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.images.document.manifest import (
    Configuration,
    Index,
    Manifest,
    chain_ids,
    parse,
    select,
)
from cri_shim.images.document.platforms import Platform, choose
from cri_shim.images.errors import BadImage
from cri_shim.images.registry.auth import Auth, Challenge, parse_challenges
from cri_shim.images.registry.endpoints import Resolver
from cri_shim.images.unpack.tar_headers import parse_pax
from cri_shim.model.ids import Digest
from tests.support import image as make

AMD64 = Platform("linux", "amd64")


def platforms(*texts: str) -> list[Platform]:
    return [Platform(*text.split("/")) for text in texts]


@pytest.mark.parametrize(
    ("wanted", "offers", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64", "linux/amd64"], 1),
        ("linux/amd64", ["windows/amd64", "linux/x86_64"], 1),
        ("linux/amd64", ["linux/386", "unknown/unknown"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], 1),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm64/v8", ["linux/arm/v7", "linux/arm64"], 1),
        ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v8"], 1),
    ],
)
def test_the_best_platform_is_chosen(wanted: str, offers: list[str], chosen: int | None) -> None:
    assert choose(platforms(*offers), Platform(*wanted.split("/"))) == chosen


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        (
            'Bearer realm="https://a/token",service="r",scope="repository:a/b:pull,push"',
            [Challenge("bearer", "https://a/token", "r", "repository:a/b:pull,push")],
        ),
        ('Basic realm="a \\"b\\""', [Challenge("basic", 'a "b"', "", "")]),
        ("BASIC realm=x", [Challenge("basic", "x", "", "")]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y"',
            [
                Challenge("negotiate", "", "", ""),
                Challenge("basic", "x", "", ""),
                Challenge("bearer", "y", "", ""),
            ],
        ),
        ("", []),
        ("=,=", []),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges([header]) == challenges


@given(st.text(max_size=80))
def test_any_challenge_header_is_survived(header: str) -> None:
    parse_challenges([header])


def test_credentials_from_cri() -> None:
    packed = base64.b64encode(b"me:pass:word\0").decode()
    auth = Auth.from_cri(cri.AuthConfig(auth=packed, server_address="https://index.docker.io/v1/"))
    assert (auth.username, auth.password) == ("me", "pass:word")
    assert auth.fits("docker.io")
    assert not auth.fits("quay.io")
    assert Auth.from_cri(cri.AuthConfig(username="a", password="b", auth=packed)).username == "a"
    for bad in ("!!", base64.b64encode(b"nocolon").decode()):
        with pytest.raises(InvalidArgument, match=r"auth\.auth"):
            Auth.from_cri(cri.AuthConfig(auth=bad))


def test_secrets_are_not_shown() -> None:
    for auth in (
        Auth(username="me", password="secret"),
        Auth(identity_token="secret"),
        Auth(registry_token="secret"),
    ):
        assert "secret" not in f"{auth} {auth!r} {[auth]}"


def test_endpoints_in_their_order() -> None:
    resolver = Resolver(
        {"quay.io": ["127.0.0.1:5000/proxy/quay", "https://mirror.example"]},
        frozenset({"plain.example:80"}),
    )
    quay = resolver.endpoints("quay.io")
    assert [(str(e), e.own) for e in quay] == [
        ("http://127.0.0.1:5000/proxy/quay", False),
        ("https://127.0.0.1:5000/proxy/quay", False),
        ("https://mirror.example", False),
        ("https://quay.io", True),
    ]
    assert [str(e) for e in resolver.endpoints("docker.io")] == ["https://registry-1.docker.io"]
    assert [str(e) for e in resolver.endpoints("plain.example:80")] == ["http://plain.example:80"]
    for host in ("localhost:5000", "127.0.0.9", "[::1]:5000"):
        assert str(resolver.endpoints(host)[0]) == f"http://{host}"
    assert resolver.endpoints("localhost.example.org")[0].url.startswith("https:")
    with pytest.raises(InvalidArgument, match=r"images\.mirrors"):
        Resolver({"quay.io": ["ftp://x"]}, frozenset())


def image() -> make.BuiltImage:
    return make.BuiltImage([make.Layer.of(make.member("a", b"a"))])


def test_manifests_of_both_families() -> None:
    for docker in (False, True):
        built = make.BuiltImage([make.Layer.of(make.member("a"))], docker=docker)
        manifest = parse(built.raw_manifest, "", "it")
        assert isinstance(manifest, Manifest)
        assert manifest.digest == built.digest
        assert manifest.config.digest == built.id


def broken(**changes: object) -> bytes:
    document = json.loads(image().raw_manifest)
    document.update(changes)
    return json.dumps({k: v for k, v in document.items() if v is not None}).encode()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (broken(config=None), "descriptor"),
        (broken(layers={}), "layers is not of type list"),
        (broken(layers=[{"size": 1}]), "digest ''"),
        (broken(mediaType="application/x-thing"), "'application/x-thing', which is no container"),
        (broken(schemaVersion=1), "schema 1"),
        (
            broken(config=make.descriptor("application/vnd.oci.empty.v1+json", b"{}")),
            "not a container image",
        ),
        (
            broken(layers=[make.descriptor("application/vnd.x.tar", b"")]),
            "unknown media type 'application/vnd.x.tar'",
        ),
        (broken(layers=[{**make.descriptor("x", b""), "size": -5}]), "no size"),
        (b" " * (5 << 20), "more than 4194304"),
    ],
)
def test_bad_manifests_are_refused_in_words(raw: bytes, text: str) -> None:
    with pytest.raises(BadImage) as caught:
        parse(raw, make.OCI_MANIFEST, "manifest of x")
    assert text in str(caught.value)
    assert "manifest of x" in str(caught.value)


def test_an_index_without_this_platform_names_what_it_has() -> None:
    arm = make.BuiltImage([], architecture="arm64")
    index = parse(make.index([arm.described()]), make.OCI_INDEX, "index of x")
    assert isinstance(index, Index)
    with pytest.raises(BadImage, match=r"nothing for linux/amd64, only for linux/arm64"):
        select(index, AMD64, "image x")


def test_configurations() -> None:
    raw = (
        b'{"architecture":"amd64","os":"linux","config":{"Env":["A=\xff\xfe"],"Cmd":null,'
        b'"Volumes":{"/b":{},"/a":{}},"User":"me","Labels":{"x":"y"}},'
        b'"rootfs":{"diff_ids":[]}}'
    )
    found = Configuration.parse(raw, "it")
    assert found.config.env == ("A=\udcff\udcfe",)
    assert found.config.volumes == ("/a", "/b")
    assert found.config.cmd == ()
    labels = Configuration.parse(b'{"config":{"Labels":{"a":"\xff","b":1}}}', "it").config.labels
    assert labels == {"a": "?", "b": "1"}
    for bad, text in (
        (b'{"config":{"Cmd":"sh"}}', "Cmd is not of type list"),
        (b'{"config":{"Env":[1]}}', "Env is not a list of texts"),
        (b'{"rootfs":{"diff_ids":["md5:x"]}}', "digest 'md5:x'"),
        (b'{"config":{"User":"\xff"}}', "User is not UTF-8"),
        (b'{"config":{"Cmd":["\\ud800"]}}', "half a character"),
    ):
        with pytest.raises(BadImage, match=text):
            Configuration.parse(bad, "it")


def test_chain_ids_of_the_image_specification() -> None:
    a, b = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
    assert chain_ids([a]) == (a,)
    assert chain_ids([a, b]) == (a, make.digest(f"{a} {b}".encode()))
    assert chain_ids([]) == ()


@given(st.binary(max_size=200))
def test_any_pax_header_is_read_or_refused(data: bytes) -> None:
    try:
        parse_pax(data)
    except BadImage:
        pass
