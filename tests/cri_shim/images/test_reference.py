"""References: the grammar of the reference implementation, and its normal form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.base.errors import InvalidArgument
from cri_shim.images.document.reference import Reference, parse_id, short_id

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

NORMAL = {
    "busybox": "docker.io/library/busybox:latest",
    "busybox:1.36": "docker.io/library/busybox:1.36",
    "docker.io/busybox": "docker.io/library/busybox:latest",
    "index.docker.io/library/busybox": "docker.io/library/busybox:latest",
    "user/app": "docker.io/user/app:latest",
    "localhost/app": "localhost/app:latest",
    "localhost:5000/app:1": "localhost:5000/app:1",
    "registry.k8s.io/e2e-test-images/busybox:1.29-4": (
        "registry.k8s.io/e2e-test-images/busybox:1.29-4"
    ),
    "[::1]:5000/a/b/c:v1": "[::1]:5000/a/b/c:v1",
    "127.0.0.1:5000/x": "127.0.0.1:5000/x:latest",
    "HOST/app": "HOST/app:latest",
    f"busybox@{DIGEST}": f"docker.io/library/busybox@{DIGEST}",
    f"a.b/c:tag@{DIGEST}": f"a.b/c:tag@{DIGEST}",
    "a/b__c.d-e--f": "docker.io/a/b__c.d-e--f:latest",
    "a.b/c:" + "t" * 128: "a.b/c:" + "t" * 128,
}

WRONG = {
    "": "empty",
    "a.b/": "empty",
    ":tag": "empty",
    "Busybox": "lower case: 'library/busybox'",
    "a.b/App": "lower case: 'app'",
    "busybox:": "tag ''",
    "busybox:-x": "tag '-x'",
    "a.b/c:" + "t" * 129: "1 to 128",
    "a..b": "library/a..b",
    "a/b_": "'a/b_'",
    "-a": "'library/-a'",
    "a//b": "'a//b'",
    "a b": "'library/a b'",
    "a\n": "library/a",
    "a.b:port/c": "registry 'a.b:port'",
    "-a.b/c": "registry '-a.b'",
    "busybox@sha256:12": "sha256:<64 hex digits>",
    "busybox@": "sha256:<64 hex digits>",
    HEX: "64 hex digits are an image id",
    "a.b/" + "c" * 260: "longer than 255",
}


@pytest.mark.parametrize("text", NORMAL)
def test_normal_form(text: str) -> None:
    assert str(Reference.parse(text)) == NORMAL[text]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_references_are_refused_with_the_reason(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse(text)
    assert WRONG[text] in str(caught.value)
    assert repr(text) in str(caught.value)


def test_what_a_registry_is_asked_for() -> None:
    assert Reference.parse("a.b/c").target == "latest"
    assert Reference.parse(f"a.b/c:1@{DIGEST}").target == DIGEST
    assert Reference.parse(f"a.b/c:1@{DIGEST}").tagged == "a.b/c:1"
    assert Reference.parse(f"a.b/c@{DIGEST}").tagged is None


def test_ids() -> None:
    assert parse_id(HEX) == parse_id(DIGEST) == DIGEST
    assert parse_id(HEX[:-1]) is None
    assert short_id("0123ab") == "sha256:0123ab"
    assert short_id("sha256:0123ab") == "sha256:0123ab"
    assert short_id("0123a") is None
    assert short_id("busybox") is None


_component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
_domain = st.from_regex(r"[a-z][a-z0-9]{0,8}\.[a-z]{2,4}(:[0-9]{1,5})?", fullmatch=True)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(_domain, st.lists(_component, min_size=1, max_size=4), _tag, st.booleans())
def test_what_follows_the_grammar_is_read_back_part_by_part(
    domain: str, parts: list[str], tag: str, pinned: bool
) -> None:
    text = f"{domain}/{'/'.join(parts)}:{tag}" + (f"@{DIGEST}" if pinned else "")
    reference = Reference.parse(text)
    assert (reference.domain, reference.path, reference.tag) == (domain, "/".join(parts), tag)
    assert str(reference) == text


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_the_normal_form_is_stable(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
