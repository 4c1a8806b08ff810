"""Images from a real registry: policies, credentials, back-off, several at once."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil

import pytest
from containerd import BUSYBOX
from node import pod, running_node, shell
from registry import PASSWORD, USER, registry_running

from shirube.foundation.clock import SYSTEM
from shirube.kubelet.images import Images

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry"),
]


@pytest.fixture(scope="module")
def public(containerd):
    with registry_running(containerd.dir / "public", containerd) as registry:
        yield registry


@pytest.fixture(scope="module")
def private(containerd):
    with registry_running(containerd.dir / "private", containerd, private=True) as registry:
        yield registry


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def running(image, policy="IfNotPresent", name="pulls", **spec):
    return pod(name, shell("sleep 1000", image=image, imagePullPolicy=policy), **spec)


async def said(node, reason, text):
    await node.until(lambda: any(text in e["message"] for e in node.api.events(reason)))


def pulls(node, image):
    return sum(e.get("count", 1) for e in node.api.events("Pulling") if image in e["message"])


async def test_an_image_is_pulled_when_it_is_missing_or_always_and_never_if_so_told(node, public):
    image = public.push(BUSYBOX, "app:1")
    never = node.run(running(image, "Never", "never"))
    await node.until(lambda: node.container(never)["state"].get("waiting", {}).get("reason") == "ErrImageNeverPull")
    first = node.run(running(image, name="first"))
    await node.ready(first)
    await said(node, "Pulled", f'Successfully pulled image "{image}" in ')
    assert node.container(first)["image"] == image
    assert node.container(first)["imageID"].startswith(f"{public.address}/app@sha256:")
    second = node.run(running(image, name="second"))
    await node.ready(second)
    await said(node, "Pulled", f'Container image "{image}" already present on machine')
    assert pulls(node, image) == 1
    third = node.run(running(image, "Always", name="third"))
    await node.ready(third)
    assert pulls(node, image) == 2


async def test_a_missing_image_backs_off_and_is_found_later(node, public):
    image = f"{public.address}/later:1"
    name = node.run(running(image))
    await said(node, "Failed", f'Failed to pull image "{image}": rpc error: code = NotFound')
    await said(node, "Failed", "Error: ErrImagePull")
    await node.until(lambda: node.container(name)["state"].get("waiting", {}).get("reason") == "ImagePullBackOff")
    await said(node, "BackOff", f'Back-off pulling image "{image}"')
    await said(node, "Failed", "Error: ImagePullBackOff")
    public.push(BUSYBOX, "later:1")
    node.agent.services.images._backoff.forget(node.api.pod(name)["metadata"]["uid"])
    worker = node.agent.pods.worker("default", name)
    worker._held.clear()
    worker.wake()
    await node.ready(name)


async def test_a_private_registry_wants_a_pull_secret(node, private):
    image = private.push(BUSYBOX, "team/app:1")
    refused = node.run(running(image, name="refused"))
    await said(node, "Failed", "401 Unauthorized")
    auths = {
        private.address: {"username": USER, "password": "wrong"},
        f"{private.address}/team": {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()},
    }
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    secret = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}
    node.api.put("/api/v1/namespaces/default/secrets/pull", secret)
    name = node.run(running(image, name="allowed", imagePullSecrets=[{"name": "missing"}, {"name": "pull"}]))
    await node.ready(name)
    assert not node.is_ready(refused)


async def test_an_image_is_pulled_once_for_all_who_wait_and_others_in_turn(node, public):
    names = [public.push(BUSYBOX, f"many:{number}") for number in range(3)]
    images = Images(node.agent.runtime, SYSTEM, most_at_once=1)
    told = []
    at_once, most = 0, 0
    once = images._pull_once

    async def counted(*args):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await once(*args)
        finally:
            at_once -= 1

    images._pull_once = counted
    wanted = [{"image": name, "imagePullPolicy": "Always"} for name in (*names, names[0])]
    found = await asyncio.gather(
        *(images.ensure(str(i), c, [], lambda *e: told.append(e)) for i, c in enumerate(wanted))
    )
    await images.close()
    assert most == 1
    assert found[0].id == found[3].id
    assert sum("Successfully pulled" in message for _, _, message in told) == 4
