"""Claims to devices from slice to binding, against the real API server in this process."""

import asyncio

from tests.waiting import until

from shirube.api import gvr
from shirube.api.errors import ApiError

DRIVER = "gpu.example.com"
FINALIZER = "resource.kubernetes.io/delete-protection"


async def driver_on(stage, node, *devices, **more):
    spec = {
        "driver": DRIVER,
        "nodeName": node,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": d, **more} for d in devices],
    }
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": f"{node}-gpu"}}
    await stage.api.create(gvr.RESOURCESLICES, {**body, "spec": spec})


async def device_class(stage, **spec):
    selector = {"cel": {"expression": f'device.driver == "{DRIVER}"'}}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu"}}
    await stage.api.create(gvr.DEVICECLASSES, {**body, "spec": {"selectors": [selector], **spec}})


async def claim(stage, name, count=1):
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "count": count}}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}}
    await stage.api.create(gvr.RESOURCECLAIMS, {**body, "spec": {"devices": {"requests": [request]}}}, "default")


async def claimed(stage, name):
    return await stage.api.get(gvr.RESOURCECLAIMS, name, "default")


def uses(*names):
    return {"resourceClaims": [{"name": n, "resourceClaimName": n} for n in names]}


def given(found):
    results = found["status"]["allocation"]["devices"]["results"]
    return [(r["request"], r["pool"], r["device"]) for r in results]


async def test_a_claim_is_allocated_reserved_and_then_the_pod_bound(stage):
    for name in ("a", "b"):
        await stage.node(name)
    await driver_on(stage, "b", "gpu-0")
    await device_class(stage)
    await claim(stage, "one")
    async with stage.scheduling():
        await stage.pod("p", **uses("one"))
        assert await until(lambda: stage.on("p")) == "b"
        found, pod = await claimed(stage, "one"), await stage.get("p")
        assert given(found) == [("gpu", "b", "gpu-0")]
        assert found["metadata"]["finalizers"] == [FINALIZER]
        consumer = {"resource": "pods", "name": "p", "uid": pod["metadata"]["uid"]}
        assert found["status"]["reservedFor"] == [consumer]
        terms = found["status"]["allocation"]["nodeSelector"]["nodeSelectorTerms"]
        assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]
        assert found["status"]["allocation"]["allocationTimestamp"]
        # Another pod may share the claim; it goes where the devices are.
        await stage.pod("q", **uses("one"))
        assert await until(lambda: stage.on("q")) == "b"
        found = await claimed(stage, "one")
        assert [c["name"] for c in found["status"]["reservedFor"]] == ["p", "q"]


async def test_pods_wait_for_claims_and_devices_and_are_woken_by_them(stage):
    await stage.node("a")
    async with stage.scheduling():
        await stage.pod("p", **uses("one"))
        await claim(stage, "one")
        refused = await until(lambda: stage.condition("p"))
        assert refused["message"].startswith("0/1 nodes are available: request gpu: device class gpu does not exist.")
        await device_class(stage)

        async def impossible():
            message = (await stage.condition("p"))["message"]
            return message if "1 cannot allocate all claims" in message else None

        text = await until(impossible)
        assert text.startswith("0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, ")
        await driver_on(stage, "a", "gpu-0")
        assert await until(lambda: stage.on("p")) == "a"
        await claim(stage, "two")
        await stage.pod("q", **uses("two"))
        assert "1 cannot allocate all claims" in (await until(lambda: stage.condition("q")))["message"]
        # As the claim controller does when the pod has gone.
        await stage.api.delete(gvr.PODS, "p", "default", grace_period_seconds=0)
        free = {"status": {"allocation": None, "reservedFor": None}}
        await stage.api.patch(gvr.RESOURCECLAIMS, "one", free, "default", subresource="status")
        assert await until(lambda: stage.on("q")) == "a"


async def test_an_idle_claim_on_the_wrong_node_is_given_up(stage):
    for name in ("a", "b"):
        await stage.node(name, labels={"disk": name})
        await driver_on(stage, name, "gpu-0")
    await device_class(stage)
    await claim(stage, "one")
    async with stage.scheduling():
        await stage.pod("p", **uses("one"), nodeSelector={"disk": "a"})
        assert await until(lambda: stage.on("p")) == "a"
        await stage.api.delete(gvr.PODS, "p", "default", grace_period_seconds=0)
        nobody = {"status": {"reservedFor": None}}
        await stage.api.patch(gvr.RESOURCECLAIMS, "one", nobody, "default", subresource="status")
        await stage.pod("q", **uses("one"), nodeSelector={"disk": "b"})
        assert await until(lambda: stage.on("q")) == "b"
        assert given(await claimed(stage, "one")) == [("gpu", "b", "gpu-0")]
        notes = await until(lambda: stage.events("q", "FailedScheduling"))
        assert "deallocation of ResourceClaim completed, preemption: " in notes[0]


async def test_extended_resources_are_served_by_devices_where_no_plugin_has_them(stage):
    await stage.node("a")
    await driver_on(stage, "a", "gpu-0", "gpu-1", "gpu-2")
    await device_class(stage, extendedResourceName="example.com/gpu")
    async with stage.scheduling():
        requests = {"requests": {"example.com/gpu": "2"}, "limits": {"example.com/gpu": "2"}}
        container = {"name": "c", "image": "x", "resources": requests}
        await stage.pod("p", containers=[container])
        assert await until(lambda: stage.on("p")) == "a"
        pod = await stage.get("p")
        said = pod["status"]["extendedResourceClaimStatus"]
        mapping = {"containerName": "c", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}
        assert said["requestMappings"] == [mapping]
        found = await claimed(stage, said["resourceClaimName"])
        assert [g[2] for g in given(found)] == ["gpu-0", "gpu-1"]
        assert found["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
        assert found["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
        await stage.pod("q", containers=[container])
        assert "1 cannot allocate all claims" in (await until(lambda: stage.condition("q")))["message"]


async def test_a_pod_that_cannot_be_bound_leaves_its_claim(stage):
    """The binding is refused after the claim was written: the pod is taken off it again."""
    await stage.node("a")
    await driver_on(stage, "a", "gpu-0")
    await device_class(stage)
    await claim(stage, "one")
    async with stage.scheduling() as scheduler:
        create, refusals = scheduler._client.create, []

        async def refuse_once(collection, obj, *args, **more):
            if obj["kind"] == "Binding" and not refusals:
                refusals.append((await claimed(stage, "one"))["status"].get("reservedFor"))
                raise ApiError(500, "InternalError", "not today")
            return await create(collection, obj, *args, **more)

        scheduler._client.create = refuse_once
        await stage.pod("p", **uses("one"))
        assert await until(lambda: stage.on("p")) == "a"
        assert [c["name"] for c in refusals[0]] == ["p"]
        assert [c["name"] for c in (await claimed(stage, "one"))["status"]["reservedFor"]] == ["p"]
        assert await until(lambda: stage.events("p", "FailedScheduling")) == ["binding rejected: not today"]


async def test_many_pods_at_once_never_share_a_device(stage):
    for name in ("a", "b", "c"):
        await stage.node(name)
        await driver_on(stage, name, *(f"gpu-{i}" for i in range(4)))
    await device_class(stage)
    await asyncio.gather(*(claim(stage, f"c{i}") for i in range(14)))
    async with stage.scheduling():
        await asyncio.gather(*(stage.pod(f"p{i}", cpu="1m", **uses(f"c{i}")) for i in range(14)))

        async def bound():
            listed = await stage.api.list(gvr.PODS, "default")
            return sum(bool(p["spec"].get("nodeName")) for p in listed["items"]) == 12

        await until(bound)
        listed = await stage.api.list(gvr.RESOURCECLAIMS, "default")
        devices = [given(c)[0] for c in listed["items"] if c["status"].get("allocation")]
        assert len(devices) == len(set(devices)) == 12


async def test_devices_with_binding_conditions_are_waited_for(stage):
    await stage.node("a")
    conditions = {"bindingConditions": ["attached"], "bindingFailureConditions": ["broken"]}
    await driver_on(stage, "a", "gpu-0", **conditions, bindsToNode=True)
    await device_class(stage)
    await claim(stage, "one")
    async with stage.scheduling():
        await stage.pod("p", **uses("one"))

        async def reserved():
            return (await claimed(stage, "one")).get("status", {}).get("reservedFor")

        await until(reserved)
        assert not await stage.on("p")
        now = "2026-01-01T00:00:00Z"
        attached = {"type": "attached", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": now}
        status = [{"driver": DRIVER, "pool": "a", "device": "gpu-0", "conditions": [attached]}]
        patch = {"status": {"devices": status}}
        await stage.api.patch(gvr.RESOURCECLAIMS, "one", patch, "default", subresource="status")
        assert await until(lambda: stage.on("p")) == "a"


async def test_from_a_template_to_a_device_and_back(stage):
    """Scheduler and claim controller together."""
    await stage.node("a")
    await driver_on(stage, "a", "gpu-0")
    await device_class(stage)
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "t"}}
    spec = {"spec": {"devices": {"requests": [request]}}}
    await stage.api.create(gvr.RESOURCECLAIMTEMPLATES, {**body, "spec": spec}, "default")
    from_template = {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}
    async with stage.house.controllers(only="resourceclaim-controller"), stage.scheduling():
        await stage.pod("first", **from_template)
        assert await until(lambda: stage.on("first")) == "a"
        assert not await stage.events("first", "FailedScheduling")  # it was not tried before its claim was there
        await stage.pod("second", **from_template)
        assert "1 cannot allocate all claims" in (await until(lambda: stage.condition("second")))["message"]
        await stage.api.patch(gvr.PODS, "first", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        assert await until(lambda: stage.on("second")) == "a"
        (claim_left,) = (await stage.api.list(gvr.RESOURCECLAIMS, "default"))["items"]
        assert [c["name"] for c in claim_left["status"]["reservedFor"]] == ["second"]
