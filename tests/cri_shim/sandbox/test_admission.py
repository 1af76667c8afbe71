"""A grant is a uid's, a record an attempt's: what is released, and when."""

import asyncio
from dataclasses import replace

import pytest

from berth.base.errors import ResourceExhausted
from cri_shim.model.lifecycle import SandboxState
from cri_shim.sandbox.admission import admit, check_grant, release_grant
from tests.support.context import Host


async def test_the_last_attempt_releases(host: Host) -> None:
    pod = host.pod(SandboxState.STOPPING, admitted=True)
    await release_grant(host.ctx, pod)
    assert host.admission.told == [f"release {pod.spec.metadata.uid}"]
    assert not host.now(pod).admitted


async def test_a_newer_attempt_keeps_the_grant(host: Host) -> None:
    old = host.pod(SandboxState.STOPPING, uid="u", admitted=True)
    new = host.pod(uid="u", attempt=1, admitted=True)
    await release_grant(host.ctx, old)
    assert (host.admission.told, host.now(old).admitted) == ([], False)
    await release_grant(host.ctx, new)
    assert host.admission.told == ["release u"]


async def test_another_pod_and_an_unadmitted_attempt_keep_nothing(host: Host) -> None:
    pod = host.pod(SandboxState.STOPPING, uid="u", admitted=True)
    host.pod(uid="other", admitted=True)
    host.pod(uid="u", attempt=1)
    await release_grant(host.ctx, pod)
    assert host.admission.told == ["release u"]


async def test_what_was_never_granted_is_not_released(host: Host) -> None:
    await release_grant(host.ctx, host.pod(SandboxState.STOPPING))
    assert host.admission.told == []


async def test_an_attempt_that_asks_during_a_release_comes_after_it(host: Host) -> None:
    """Else the agent would grant it and be told the next moment that the grant is free."""
    releasing, go_on = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        releasing.set()
        await go_on.wait()

    host.admission.pause = pause
    old = host.pod(SandboxState.STOPPING, uid="u", admitted=True)
    release = asyncio.ensure_future(release_grant(host.ctx, old))
    await releasing.wait()
    new = host.pod(SandboxState.CREATING, uid="u", attempt=1)
    asking = asyncio.ensure_future(admit(host.ctx, new))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(release, asking)
    assert host.admission.told == ["release u", "admit u"]
    assert (host.now(old).admitted, host.now(new).admitted) == (False, True)


async def test_a_release_that_comes_during_an_admission_finds_it(host: Host) -> None:
    old = host.pod(SandboxState.STOPPING, uid="u", admitted=True)
    new = host.pod(SandboxState.CREATING, uid="u", attempt=1)
    await asyncio.gather(admit(host.ctx, new), release_grant(host.ctx, old))
    assert host.admission.told == ["admit u"]
    assert (host.now(old).admitted, host.now(new).admitted) == (False, True)


def test_a_revoked_grant_is_named(host: Host) -> None:
    pod = host.pod(admitted=True, uid="u")
    check_grant(host.ctx, pod)
    host.admission.revocations["u"] = "reclaimed for owner"
    with pytest.raises(ResourceExhausted, match="revoked: reclaimed for owner"):
        check_grant(host.ctx, pod)
    check_grant(host.ctx, replace(pod, admitted=False))
