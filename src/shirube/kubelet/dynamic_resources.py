"""Dynamic Resource Allocation on the node: claims of pods are prepared by their drivers before containers start, and
given back when the last pod that uses them is gone.

The scheduler (or whoever allocates) has written into the claim's status which devices of which drivers it is, and
for whom it is reserved. Each driver is asked once for a claim, whatever the number of pods; the CDI devices that it
answers with are given to the containers that name the claim. A book of what is prepared survives restarts of the
agent: what a pod that is gone left behind is given back as soon as its driver is there.
Follows https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/ and KEP-4381 (v1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import RESOURCECLAIMS
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.kubelet import cdi
from shirube.kubelet import pod as pods
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol
from shirube.kubelet.device_allocation import DeviceError, Grant
from shirube.kubelet.plugin_registry import Plugin, PluginRefused

_logger = log.get("kubelet.claims")
VERSION = "v1.DRAPlugin"
_CALL_SECONDS = 45.0


@dataclass(slots=True)
class Prepared:
    """A claim that is (being) prepared on this node."""

    namespace: str
    name: str
    uid: str
    drivers: list[str]
    users: list[str] = field(default_factory=list)  # pod UIDs
    last_user: str = ""
    asked: list[str] = field(default_factory=list)  # the drivers that have heard of it
    # What the drivers answered: {"requests": [...], "cdi": [...]}; None until all have.
    devices: list[dict[str, list[str]]] | None = None


class DynamicResources:
    def __init__(self, client: Client, file: Path, cdi_directories: Sequence[Path] = cdi.DIRECTORIES) -> None:
        self._client = client
        self._file = file
        self._cdi_directories = cdi_directories
        self._protocol = Protocol("dynamic_resources.json")
        self._drivers: dict[str, Runtime] = {}
        self._turn = asyncio.Lock()
        self._prepared = _load(file)

    # -- drivers

    async def plugin_came(self, plugin: Plugin) -> None:
        if VERSION not in plugin.versions:
            raise PluginRefused(
                f"none of the versions specified by plugin {plugin.name!r} are supported: "
                f"{', '.join(plugin.versions) or 'none given'}; this node speaks {VERSION}"
            )
        await self.plugin_went(plugin.name)
        self._drivers[plugin.name] = Runtime(plugin.endpoint, self._protocol)
        await self._give_back_to(plugin.name)

    async def plugin_went(self, name: str) -> None:
        if (connection := self._drivers.pop(name, None)) is not None:
            await connection.close()

    async def close(self) -> None:
        for name in list(self._drivers):
            await self.plugin_went(name)

    # -- preparing

    async def prepare(self, pod: pods.Pod) -> None:
        """Make sure of all of the pod's claims. Raises DeviceError; safe to repeat."""
        names = [*claim_names(pod).values(), *(name for name, _ in _of_extended_resources(pod))]
        if not names:
            return
        async with self._turn:
            wanted = [await self._claim(pod, name) for name in names]
            for claim in wanted:
                if claim is not None:
                    self._use(pods.uid(pod), claim)
            mine = [p for p in self._prepared.values() if pods.uid(pod) in p.users and p.devices is None]
            await self._ask_drivers(mine)

    async def _claim(self, pod: pods.Pod, name: str) -> Mapping[str, Any] | None:
        """The claim, if it may be used by the pod; None when it is prepared for it already."""
        namespace = pods.namespace(pod)
        for known in self._prepared.values():
            same = (known.namespace, known.name) == (namespace, name)
            if same and known.devices is not None and pods.uid(pod) in known.users:
                return None
        try:
            claim: Mapping[str, Any] = await self._client.get(RESOURCECLAIMS, name, namespace)
        except ApiError as error:
            raise DeviceError(
                f"failed to fetch ResourceClaim {name} referenced by pod {pods.name(pod)}: {error}"
            ) from error
        status = claim.get("status") or {}
        if not status.get("allocation"):
            raise DeviceError(f"ResourceClaim {name} is not allocated yet")
        if pods.uid(pod) not in {one.get("uid") for one in status.get("reservedFor") or ()}:
            raise DeviceError(f"pod {pods.name(pod)} ({pods.uid(pod)}) is not allowed to use resource claim {name}")
        return claim

    def _use(self, pod_uid: str, claim: Mapping[str, Any]) -> None:
        metadata = claim["metadata"]
        results = (claim["status"]["allocation"].get("devices") or {}).get("results") or ()
        drivers = sorted({str(result["driver"]) for result in results})
        prepared = self._prepared.get(metadata["uid"])
        if prepared is None:
            prepared = Prepared(metadata["namespace"], metadata["name"], metadata["uid"], drivers)
            self._prepared[metadata["uid"]] = prepared
        if pod_uid not in prepared.users:
            prepared.users.append(pod_uid)
        self._save()

    async def _ask_drivers(self, claims: list[Prepared]) -> None:
        devices: dict[str, list[dict[str, list[str]]]] = {claim.uid: [] for claim in claims}
        for driver in sorted({driver for claim in claims for driver in claim.drivers}):
            of_driver = [claim for claim in claims if driver in claim.drivers]
            if driver in self._drivers:
                # Written before it is asked: what it did is not forgotten in a crash.
                for claim in of_driver:
                    claim.asked = sorted({*claim.asked, driver})
                self._save()
            answer = await self._call(driver, "NodePrepareResources", of_driver)
            for claim in of_driver:
                if claim.uid not in answer.claims:
                    raise DeviceError(f"DRA driver {driver} did not prepare claim {claim.namespace}/{claim.name}")
                one = answer.claims[claim.uid]
                if one.error:
                    raise DeviceError(
                        f"NodePrepareResources failed for ResourceClaim {claim.name} of driver {driver}: {one.error}"
                    )
                devices[claim.uid] += [
                    {"requests": list(d.request_names), "cdi": list(d.cdi_device_ids)} for d in one.devices
                ]
        for claim in claims:
            claim.devices = devices[claim.uid]
        if claims:
            self._save()

    async def _call(self, driver: str, method: str, claims: Iterable[Prepared]) -> Any:
        connection = self._drivers.get(driver)
        if connection is None:
            raise DeviceError(f"DRA driver {driver} is not registered")
        fields = [{"namespace": c.namespace, "uid": c.uid, "name": c.name} for c in claims]
        try:
            return await connection.call(method, deadline=_CALL_SECONDS, claims=fields)
        except CriError as error:
            raise DeviceError(f"{method} of DRA driver {driver} failed: {error}") from error

    # -- giving

    async def grants(self, pod: pods.Pod, container: pods.Container) -> list[Grant]:
        """What the container gets for the claims that it names. Raises DeviceError."""
        claims = (container.get("resources") or {}).get("claims") or ()
        names = claim_names(pod) if claims else {}
        asked = [(names.get(one["name"], ""), one.get("request") or "") for one in claims]
        for name, mappings in _of_extended_resources(pod):
            asked += [(name, m["requestName"]) for m in mappings if m["containerName"] == container["name"]]
        ids: list[str] = []
        for name, request in asked:
            prepared = self._of(pod, name)
            if prepared is None:
                continue  # a claim that turned out not to be needed
            for device in prepared.devices or ():
                if _is_for(device["requests"], request):
                    ids += device["cdi"]
        if not ids:
            return []
        return [await asyncio.to_thread(cdi.grant, ids, self._cdi_directories)]

    def _of(self, pod: pods.Pod, name: str) -> Prepared | None:
        return next(
            (p for p in self._prepared.values() if p.name == name and pods.uid(pod) in p.users),
            None,
        )

    # -- giving back

    def holders(self) -> set[str]:
        """UIDs of the pods that use claims."""
        return {uid for prepared in self._prepared.values() for uid in prepared.users}

    async def release(self, pod_uid: str) -> None:
        """The pod's containers are gone. Raises DeviceError when a driver does not take its claim back yet."""
        async with self._turn:
            for prepared in self._prepared.values():
                if pod_uid in prepared.users:
                    prepared.users.remove(pod_uid)
                    prepared.last_user = pod_uid
                    self._save()
            for claim in [p for p in self._prepared.values() if not p.users and p.last_user == pod_uid]:
                await self._give_back(claim)

    async def _give_back_to(self, driver: str) -> None:
        """What nobody uses any more, to a driver that was away."""
        async with self._turn:
            for claim in [p for p in self._prepared.values() if not p.users and driver in p.asked]:
                try:
                    await self._give_back(claim)
                except DeviceError as error:
                    _logger.warning("cannot give back a claim", driver=driver, claim=claim.name, error=str(error))

    async def _give_back(self, claim: Prepared) -> None:
        for driver in list(claim.asked):
            answer = await self._call(driver, "NodeUnprepareResources", [claim])
            error = answer.claims[claim.uid].error if claim.uid in answer.claims else "no answer for the claim"
            if error:
                raise DeviceError(
                    f"NodeUnprepareResources failed for ResourceClaim {claim.name} of driver {driver}: {error}"
                )
            claim.asked.remove(driver)
        del self._prepared[claim.uid]
        self._save()

    def _save(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_bytes(orjson.dumps([asdict(prepared) for prepared in self._prepared.values()]))
        new.rename(self._file)


def _load(file: Path) -> dict[str, Prepared]:
    try:
        return {one["uid"]: Prepared(**one) for one in orjson.loads(file.read_bytes())}
    except (OSError, ValueError, KeyError, TypeError):
        # None yet; or cut short by a power failure, after which drivers are asked for everything again.
        return {}


def claim_names(pod: pods.Pod) -> dict[str, str]:
    """The ResourceClaims of the pod by the names that its containers use. Raises DeviceError."""
    made = {
        status["name"]: status.get("resourceClaimName")
        for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    found: dict[str, str] = {}
    for one in pod["spec"].get("resourceClaims") or ():
        if name := one.get("resourceClaimName"):
            found[one["name"]] = name
        elif one["name"] not in made:
            raise DeviceError(f'the ResourceClaim of template for claim "{one["name"]}" is not made yet')
        elif name := made[one["name"]]:
            found[one["name"]] = name
    return found


def _of_extended_resources(pod: pods.Pod) -> list[tuple[str, list[Mapping[str, str]]]]:
    """The claim that the scheduler made for extended resources of device classes, with whose requests are whose."""
    found = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    return [(found["resourceClaimName"], list(found.get("requestMappings") or ()))] if found else []


def _is_for(requests: Sequence[str], wanted: str) -> bool:
    """Whether a device belongs to the request; one of several choices is named `request/choice`."""
    if not wanted or not requests:
        return True
    return any(name == wanted or name.startswith(wanted + "/") for name in requests)
