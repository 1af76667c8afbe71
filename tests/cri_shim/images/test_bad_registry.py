"""Pulls from a registry that breaks, lies and asks: what is tried again and what is refused."""

import asyncio
import ssl
from pathlib import Path

import pytest

from berth.base.errors import BerthError
from cri_shim.images.errors import AccessDenied, BadImage, RegistryUnavailable
from cri_shim.images.registry.auth import Auth
from cri_shim.images.service import Images
from tests.cri_shim.images import on_disk
from tests.cri_shim.images.scripted_registry import Script, serving
from tests.support import image as make
from tests.support.image import directory, member
from tests.support.registry import self_signed


def big() -> make.BuiltImage:
    """Two layers of 300 kB that compress not at all."""
    import random

    noise = random.Random(5)
    return make.BuiltImage(
        [make.Layer.of(member(f"f{n}", noise.randbytes(300_000))) for n in range(2)]
    )


def partials(root: Path) -> list[str]:
    return [name for name in on_disk.remains(root) if name.endswith(".partial")]


async def refused(images: Images, reference: str, kind: type[BerthError], *texts: str) -> str:
    with pytest.raises(kind) as caught:
        await images.pull(reference)
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


async def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    script = Script(break_after=[0, 1_000_000, 100_000, 50_000], arriving=tmp_path / "root")
    built = script.add(big())
    # The configuration comes first: it breaks once, and is whole at the second time.
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        assert (await images.pull(f"{host}/a")).id == built.id
    ranges = sorted(headers["Range"] for _, _, headers in script.seen if "Range" in headers)
    assert ranges == ["bytes=100000-", "bytes=50000-"]
    assert partials(tmp_path / "root") == []


async def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    script = Script(ranges=False)
    built = script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        script.break_after = [0, 100_000]
        assert (await images.pull(f"{host}/a")).id == built.id


async def test_a_registry_that_stops_half_way_leaves_what_the_next_pull_takes_up(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    script = Script(break_after=[1000, *[200_000] * 2, *[0] * 50], arriving=root)
    built = script.add(big())
    async with on_disk.opened(root) as images:
        async with serving(script) as host:
            await refused(images, f"{host}/a", RegistryUnavailable, "the connection broke")
            assert images.list() == ()
            assert all(name.endswith(".partial") for name in on_disk.remains(root))
            assert images.usage() == (0, 0)
            script.break_after.clear()
            script.seen.clear()
            assert (await images.pull(f"{host}/a")).id == built.id
        assert "bytes=200000-" in {headers.get("Range") for _, _, headers in script.seen}
        await images.remove(built.id)
        assert on_disk.remains(root) == set()


async def test_a_cancelled_pull_stops_unless_another_waits(tmp_path: Path) -> None:
    root = tmp_path / "root"
    script = Script(gate=asyncio.Event())
    built = script.add(big())
    assert script.gate is not None
    async with serving(script) as host, on_disk.opened(root) as images:
        one, two = (asyncio.ensure_future(images.pull(f"{host}/a")) for _ in range(2))
        while not script.paths("/blobs/"):
            await asyncio.sleep(0)
        one.cancel()
        script.gate.set()
        assert (await two).id == built.id
        assert one.cancelled() or await _is_cancelled(one)
        await images.remove(built.id)
        script.gate.clear()
        script.seen.clear()
        alone = asyncio.ensure_future(images.pull(f"{host}/a"))
        while not script.paths("/blobs/"):
            await asyncio.sleep(0)
        alone.cancel()
        assert await _is_cancelled(alone)
        assert images.list() == ()
        assert set(on_disk.remains(root)) == set(partials(root))
        script.gate.set()
        assert (await images.pull(f"{host}/a")).id == built.id


async def _is_cancelled(future: "asyncio.Future[object]") -> bool:
    try:
        await future
    except asyncio.CancelledError:
        return True
    return False


async def test_busy_registries_are_asked_again(tmp_path: Path) -> None:
    script = Script(failures=[0, 503, 429])
    built = script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        assert (await images.pull(f"{host}/a")).id == built.id
        script.failures = [503] * 20
        await refused(images, f"{host}/a", RegistryUnavailable, "it says 503: not now")


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [("7", 7.0), ("86400", 30.0), ("9" * 400, 30.0), ("²", 0.0), ("-5", 0.0), ("soon", 0.0)],
)
async def test_a_registry_cannot_make_us_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: str, waited: float
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float, result: object = None) -> None:
        slept.append(seconds)
        await sleep(0)

    script = Script(failures=[0, 503, 429], retry_after=asked_for)
    built = script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", at_once)
            assert (await images.pull(f"{host}/a")).id == built.id
    # The configuration is asked for three times; our own pauses are of milliseconds here.
    assert [round(seconds) for seconds in slept if seconds] == [waited, waited]


async def test_lies_of_a_registry_are_refused_whole(tmp_path: Path) -> None:
    built = big()
    layer = built.layers[1].blob
    name = make.digest(layer)
    flipped = layer[:-1] + bytes([layer[-1] ^ 1])
    raw, kind = built.raw_manifest, built.media_type
    spaced = raw + b" "
    cases: dict[str, tuple[Script, tuple[str, ...]]] = {
        "content": (Script(blobs={name: flipped}), (name, "has the digest")),
        "size told": (Script(sizes={name: len(layer) - 5}), (name, "its manifest promises")),
        "longer": (Script(blobs={name: layer + b"x"}), (name, "its manifest promises")),
        "config": (Script(blobs={built.id: b"x" * len(built.raw_config)}), (built.id,)),
        "manifest": (Script(manifests={built.digest: (spaced, kind)}), (built.digest,)),
        "huge manifest": (Script(manifests={"latest": (raw + b" " * (5 << 20), kind)}), ("bytes",)),
        "no JSON": (Script(manifests={"latest": (b"<html>", kind)}), ("not JSON",)),
        "schema 1": (Script(manifests={"latest": (b'{"schemaVersion":1}', "")}), ("schema 1",)),
    }
    for case, (script, texts) in cases.items():
        root = tmp_path / case
        lies = (dict(script.blobs), dict(script.manifests))
        script.add(built)
        script.blobs |= lies[0]
        script.manifests |= lies[1]
        target = f"a@{built.digest}" if case == "manifest" else "a"
        async with serving(script) as host, on_disk.opened(root) as images:
            await refused(images, f"{host}/{target}", BadImage, *texts)
            assert images.list() == ()
        assert on_disk.remains(root) == set(), case


async def test_a_missing_blob_is_told(tmp_path: Path) -> None:
    script = Script()
    built = script.add(big())
    del script.blobs[make.digest(built.layers[0].blob)]
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        await refused(images, f"{host}/a", BerthError, "404")
    assert on_disk.remains(tmp_path / "root") == set()


async def test_a_lying_mirror_is_passed_over(tmp_path: Path) -> None:
    built = big()
    good, bad = Script(), Script()
    good.add(built)
    bad.add(built)
    name = make.digest(built.layers[0].blob)
    bad.blobs[name] = bytes(len(bad.blobs[name]))
    async with (
        serving(bad) as mirror,
        serving(good) as host,
        on_disk.opened(tmp_path / "root", mirrors={host: [f"http://{mirror}"]}) as images,
    ):
        assert (await images.pull(f"{host}/a")).id == built.id
    assert len(good.seen) == 1


GOOD = Auth("me", "secret")


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        ("basic", GOOD),
        ("bearer", GOOD),
        ("bearer", Auth(identity_token="refresh")),
        ("the-very-token", Auth(registry_token="the-very-token")),
    ],
)
async def test_every_kind_of_credentials(tmp_path: Path, auth: str, shown: Auth) -> None:
    script = Script(auth=auth)
    built = script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        assert (await images.pull(f"{host}/a", shown)).id == built.id
        tokens = len(script.paths("/token"))
        await images.pull(f"{host}/a", shown)
        assert tokens == len(script.paths("/token")) == (auth == "bearer")
        for wrong in (
            None,
            Auth("me", "wrong"),
            Auth(identity_token="x"),
            Auth(registry_token="x"),
        ):
            with pytest.raises(AccessDenied, match=str(wrong or "no credentials")) as caught:
                await images.pull(f"{host}/a", wrong)
            assert "wrong" not in str(caught.value)
    for form in script.forms[:1]:
        assert form["grant_type"] == ["refresh_token"]
        assert form["scope"] == ["repository:a:pull"]


async def test_anonymous_tokens(tmp_path: Path) -> None:
    script = Script(auth="bearer", password="")
    built = script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        assert (await images.pull(f"{host}/a")).id == built.id


async def test_credentials_do_not_follow_a_redirect(tmp_path: Path) -> None:
    store = Script()
    script = Script(auth="basic")
    built = script.add(big())
    store.blobs = dict(script.blobs)
    async with serving(store) as elsewhere, serving(script) as host:
        script.redirect = f"http://{elsewhere}"
        async with on_disk.opened(tmp_path / "root") as images:
            assert (await images.pull(f"{host}/a", GOOD)).id == built.id
    assert store.seen
    assert not any("Authorization" in headers for _, _, headers in store.seen)


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(self_signed(tmp_path))
    return context


def trust(tmp_path: Path, *hosts: str) -> Path:
    """A `certs_dir` that knows the certificate of `tls` for these hosts."""
    for host in hosts:
        (tmp_path / "certs" / host).mkdir(parents=True)
        (tmp_path / "certs" / host / "ca.crt").write_bytes((tmp_path / "cert.pem").read_bytes())
    return tmp_path / "certs"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    tmp_path: Path, tls: ssl.SSLContext, name: str
) -> None:
    """Plain HTTP to either host is allowed otherwise: only the way there makes it wrong."""
    store, script = Script(), Script()
    built = script.add(big())
    store.blobs = dict(script.blobs)
    async with serving(store) as elsewhere, serving(script, tls) as host:
        script.redirect = "http://" + elsewhere.replace("127.0.0.1", name)
        certs = trust(tmp_path, host)
        async with on_disk.opened(tmp_path / "root", certs_dir=certs) as images:
            said = f"redirect from TLS to {script.redirect}"
            await refused(images, f"{host}/a", RegistryUnavailable, said)
            assert store.seen == []
            assert images.list() == ()
            script.redirect = ""
            assert (await images.pull(f"{host}/a")).id == built.id


async def test_a_redirect_from_tls_to_tls_is_followed(tmp_path: Path, tls: ssl.SSLContext) -> None:
    store, script = Script(), Script(auth="basic")
    built = script.add(big())
    store.blobs = dict(script.blobs)
    async with serving(store, tls) as elsewhere, serving(script, tls) as host:
        script.redirect = f"https://{elsewhere}"
        certs = trust(tmp_path, host, elsewhere)
        async with on_disk.opened(tmp_path / "root", certs_dir=certs) as images:
            assert (await images.pull(f"{host}/a", GOOD)).id == built.id
    assert store.seen
    assert not any("Authorization" in headers for _, _, headers in store.seen)


async def test_a_redirect_back_from_tls_to_plain_http_is_not_followed(
    tmp_path: Path, tls: ssl.SSLContext
) -> None:
    """It is each step that counts: http → https → http."""
    store, middle, script = Script(), Script(), Script()
    script.add(big())
    store.blobs = dict(script.blobs)
    async with (
        serving(store) as last,
        serving(middle, tls) as second,
        serving(script) as host,
    ):
        script.redirect, middle.redirect = f"https://{second}", f"http://{last}"
        certs = trust(tmp_path, second)
        async with on_disk.opened(tmp_path / "root", certs_dir=certs) as images:
            await refused(images, f"{host}/a", RegistryUnavailable, "redirect from TLS to http://")
    assert middle.seen
    assert store.seen == []


@pytest.mark.parametrize("shown", [Auth(identity_token="refresh"), GOOD])
async def test_credentials_do_not_follow_a_redirect_of_the_token_server(
    tmp_path: Path, shown: Auth
) -> None:
    thief, script = Script(), Script(auth="bearer")
    script.add(big())
    async with serving(thief) as elsewhere, serving(script) as host:
        script.token_redirect = elsewhere
        async with on_disk.opened(tmp_path / "root") as images:
            with pytest.raises(BerthError):
                await images.pull(f"{host}/a", shown)
    assert thief.forms == []
    assert not any("Authorization" in headers for _, _, headers in thief.seen)


async def test_credentials_go_to_no_mirror(tmp_path: Path) -> None:
    mirror, own = Script(auth="basic"), Script(auth="basic")
    mirror.add(big())
    built = own.add(big())
    async with serving(mirror) as first, serving(own) as host:
        mirrors = {host: [f"http://{first}"]}
        async with on_disk.opened(tmp_path / "root", mirrors=mirrors) as images:
            assert (await images.pull(f"{host}/a", GOOD)).id == built.id
    assert mirror.seen
    assert not any("Authorization" in headers for _, _, headers in mirror.seen)


async def test_credentials_are_not_shown_to_a_token_server_without_tls(tmp_path: Path) -> None:
    script = Script(auth="bearer", realm="http://token.example/token")
    script.add(big())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        with pytest.raises(AccessDenied, match=r"token\.example/token, without TLS"):
            await images.pull(f"{host}/a", GOOD)


async def test_a_layer_that_escapes_leaves_nothing(tmp_path: Path) -> None:
    script = Script()
    bad = make.Layer.of(directory("ok"), member("../../escaped", b"x"))
    script.add(make.BuiltImage([make.Layer.of(member("fine", b"x")), bad]))
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        await refused(images, f"{host}/a", BadImage, "'../../escaped' leads outside")
    assert on_disk.remains(tmp_path / "root") == set()
    assert not list(tmp_path.rglob("escaped"))
