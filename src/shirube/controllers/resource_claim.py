"""ResourceClaims of pods: made from templates, freed when nobody uses them, deleted when their pod is done.

A pod that names a ResourceClaimTemplate gets a claim of its own, whose name goes into the pod's status. Reservations of
pods that are gone or finished are taken off claims; with the last one the devices are given back. A pod that was bound
to a node without the scheduler is reserved here. Follows KEP-4381 and
https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/

Keys are "pod:namespace/name" and "claim:namespace/name".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import controller_of, controller_reference, deleting
from shirube.controllers.pod_control import namespace_terminating
from shirube.controllers.pods import finished

_ACCOUNT = "resource-claim-controller"
ANNOTATION = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
_LONGEST_BASE = 57  # of a generated name: a label of 63 characters with the API server's suffix
_MOST_CONSUMERS = 256
_POD, _CLAIM = "pod:", "claim:"


class PodClaim(NamedTuple):
    """One of a pod's `resourceClaims`. `claim` is the ResourceClaim's name, "" while there is none."""

    name: str
    template: str
    claim: str
    needed: bool


def pod_claims(pod: Object) -> list[PodClaim]:
    said = {s["name"]: s.get("resourceClaimName") for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    return [
        PodClaim(
            one["name"],
            one.get("resourceClaimTemplateName") or "",
            one.get("resourceClaimName") or said.get(one["name"]) or "",
            bool(one.get("resourceClaimName")) or one["name"] not in said or bool(said[one["name"]]),
        )
        for one in pod["spec"].get("resourceClaims") or ()
    ]


def done(pod: Object) -> bool:
    """None of its containers runs or ever will."""
    return finished(pod) or (deleting(pod) and not pod["spec"].get("nodeName"))


def generated(pod: Object, one: PodClaim, template: Object) -> Object:
    """The claim to create for a pod."""
    described = template["spec"].get("metadata") or {}
    pod_name = pod["metadata"]["name"]
    base = f"{pod_name}-{one.name}-"
    if len(base) > _LONGEST_BASE:  # of both names as much as they are long
        share = _LONGEST_BASE / len(base)
        base = f"{pod_name[: int(len(pod_name) * share)]}-{one.name[: int(len(one.name) * share)]}"
    metadata: Object = {
        "generateName": base,
        "namespace": pod["metadata"]["namespace"],
        "annotations": {**(described.get("annotations") or {}), ANNOTATION: one.name},
        "ownerReferences": [controller_reference(pod, "v1", "Pod")],
    }
    if described.get("labels"):
        metadata["labels"] = described["labels"]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": template["spec"]["spec"],
    }


def consumer(pod: Object) -> Object:
    return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def _consumers(claim: Object) -> list[Object]:
    return (claim.get("status") or {}).get("reservedFor") or []


class ResourceClaimController(Controller[str]):
    name = "resourceclaim-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        self._pods = context.informer(PODS)
        self._claims = context.informer(RESOURCECLAIMS)
        self._templates = context.informer(RESOURCECLAIMTEMPLATES)
        super().__init__(self._pods, self._claims, self._templates)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("resource_claim", _ACCOUNT)
        self._pods.add_index("resource-claim", _keys_of_claims)
        self._pods.add_index("resource-claim-template", _keys_of_templates)
        self._claims.add_index("pod-owner", _owners)
        self._claims.add_index("consumer", lambda claim: [u["uid"] for u in _consumers(claim)])
        self._pods.add_handler(self._pod_seen, lambda _, new: self._pod_seen(new), self._pod_gone)
        self._claims.add_handler(self._claim_seen, lambda _, new: self._claim_seen(new), self._claim_gone)
        self._templates.add_handler(self._template_seen)

    # What wakes whom

    def _pod_seen(self, pod: Object) -> None:
        if pod["spec"].get("resourceClaims"):
            self.queue.add(_POD + key_of(pod))
        if done(pod):
            self._wake_claims_of(pod)

    def _pod_gone(self, pod: Object) -> None:
        self._wake_claims_of(pod)

    def _wake_claims_of(self, pod: Object) -> None:
        for index in ("consumer", "pod-owner"):
            for claim in self._claims.store.by_index(index, pod["metadata"]["uid"]):
                self.queue.add(_CLAIM + key_of(claim))

    def _claim_seen(self, claim: Object) -> None:
        self.queue.add(_CLAIM + key_of(claim))
        for pod in self._pods.store.by_index("resource-claim", key_of(claim)):
            self.queue.add(_POD + key_of(pod))

    def _claim_gone(self, claim: Object) -> None:
        for pod in self._pods.store.by_index("resource-claim", key_of(claim)):
            self.queue.add(_POD + key_of(pod))

    def _template_seen(self, template: Object) -> None:
        for pod in self._pods.store.by_index("resource-claim-template", key_of(template)):
            self.queue.add(_POD + key_of(pod))

    async def reconcile(self, key: str) -> None:
        kind, _, rest = key.partition(":")
        namespace, name = split_key(rest)
        if kind == "pod":
            pod = self._pods.store.get(namespace, name)
            if pod is not None and not deleting(pod) and not finished(pod):
                await self._sync_pod(pod)
        else:
            claim = self._claims.store.get(namespace, name)
            if claim is not None:
                await self._sync_claim(claim)

    # Pods

    async def _sync_pod(self, pod: Object) -> None:
        made: dict[str, str] = {}
        for one in pod_claims(pod):
            try:
                if name := await self._made(pod, one):
                    made[one.name] = name
            except ApiError as error:
                if namespace_terminating(error):
                    return
                message = f"PodResourceClaim {one.name}: {error.message}"
                self._recorder.event(pod, WARNING, "FailedResourceClaimCreation", message)
                if error.code != 404:  # a template that comes wakes its pods
                    raise
        if made:
            await self._tell(pod, made)
        if pod["spec"].get("nodeName"):
            await self._reserve(pod)

    async def _made(self, pod: Object, one: PodClaim) -> str:
        """The name of the claim that was made, or found, for a template; "" when there is nothing to tell."""
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        if not one.template or not one.needed:
            return ""
        if one.claim:
            there = self._claims.store.get(namespace, one.claim)
            if there is None:  # deleted by accident, or not seen yet: only the server knows
                there = await self._read(one.claim, namespace)
            owner = None if there is None else controller_of(there)
            if owner is not None and owner["uid"] == uid:
                return ""
        for claim in self._claims.store.by_index("pod-owner", uid):
            # Made before the status could be written. (Whoever writes this UID in another namespace is not believed.)
            metadata = claim["metadata"]
            meant = (
                metadata["namespace"] == namespace and (metadata.get("annotations") or {}).get(ANNOTATION) == one.name
            )
            if meant and not deleting(claim):
                return str(metadata["name"])
        template = self._templates.store.get(namespace, one.template)
        if template is None:
            raise ApiError(404, "NotFound", f'resource claim template "{one.template}" not found')
        fresh = await self._client.get(PODS, pod["metadata"]["name"], namespace)
        if fresh["metadata"]["uid"] != uid:
            return ""
        if known := next((c.claim for c in pod_claims(fresh) if c.name == one.name and c.claim != one.claim), ""):
            return known  # this cache is behind: it has been told already
        claim = await self._client.create(RESOURCECLAIMS, generated(pod, one, template), namespace)
        return str(claim["metadata"]["name"])

    async def _read(self, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(RESOURCECLAIMS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def _tell(self, pod: Object, made: dict[str, str]) -> None:
        statuses = [{"name": name, "resourceClaimName": claim} for name, claim in made.items()]
        metadata = pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": {"resourceClaimStatuses": statuses}}
        await self._client.patch(
            PODS, metadata["name"], patch, metadata["namespace"], type="strategic", subresource="status"
        )

    async def _reserve(self, pod: Object) -> None:
        """For a pod that came to its node without the scheduler."""
        namespace = pod["metadata"]["namespace"]
        for one in pod_claims(pod):
            claim = self._claims.store.get(namespace, one.claim) if one.claim else None
            if claim is None or (claim.get("status") or {}).get("allocation") is None:
                continue
            users = _consumers(claim)
            if len(users) < _MOST_CONSUMERS and all(u["uid"] != pod["metadata"]["uid"] for u in users):
                await self._write(claim, [*users, consumer(pod)])

    # Claims

    async def _sync_claim(self, claim: Object) -> None:
        users = _consumers(claim)
        left = [u for u in users if await self._uses(claim, u)]
        if len(left) < len(users):
            claim = await self._write(claim, left)
        # Devices go back with the last user. A claim that never had one keeps them: drivers may allocate early.
        freed = (len(left) < len(users) and not left) or (deleting(claim) and not left)
        if freed and (claim.get("status") or {}).get("allocation") is not None:
            claim = await self._write(claim, [], free=True)
        held = (claim.get("status") or {}).get("allocation") is not None
        if not left and not held and (freed or deleting(claim)):
            claim = await self._unprotect(claim)
        if not left and not deleting(claim):
            await self._delete_unused(claim)

    async def _uses(self, claim: Object, user: Object) -> bool:
        """Whether a reservation is still of somebody."""
        if user.get("apiGroup") or user.get("resource") != "pods":
            return True  # somebody else's, whom this controller knows nothing of
        namespace = claim["metadata"]["namespace"]
        pod = self._pods.store.get(namespace, user["name"])
        if pod is None:
            # The cache may be behind the scheduler: only the server knows.
            try:
                pod = await self._client.get(PODS, user["name"], namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                return False
        return bool(pod["metadata"]["uid"] == user["uid"]) and not done(pod)

    async def _write(self, claim: Object, users: list[Object], *, free: bool = False) -> Object:
        status = {**(claim.get("status") or {}), "reservedFor": users}
        if free:
            status = {k: v for k, v in status.items() if k not in ("allocation", "devices", "reservedFor")}
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **claim, "status": status}
        return await self._client.update_status(RESOURCECLAIMS, body)

    async def _unprotect(self, claim: Object) -> Object:
        finalizers = claim["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return claim
        metadata = {**claim["metadata"], "finalizers": [f for f in finalizers if f != FINALIZER]}
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **claim, "metadata": metadata}
        return await self._client.update(RESOURCECLAIMS, body)

    async def _delete_unused(self, claim: Object) -> None:
        """One that was made for a pod that will not need it; the garbage collector would come later."""
        owner, metadata = controller_of(claim), claim["metadata"]
        if owner is None or owner["kind"] != "Pod":
            return
        pod = self._pods.store.get(metadata["namespace"], owner["name"])
        if pod is None or (pod["metadata"]["uid"] == owner["uid"] and not done(pod)):
            return  # a pod that is not known may only not be known yet
        try:
            await self._client.delete(
                RESOURCECLAIMS, metadata["name"], metadata["namespace"], preconditions={"uid": metadata["uid"]}
            )
        except ApiError as error:
            if error.code != 404:
                raise


def _keys_of_claims(pod: Object) -> Iterable[str]:
    namespace = pod["metadata"]["namespace"]
    return [f"{namespace}/{one.claim}" for one in pod_claims(pod) if one.claim]


def _keys_of_templates(pod: Object) -> Iterable[str]:
    namespace = pod["metadata"]["namespace"]
    return [f"{namespace}/{one.template}" for one in pod_claims(pod) if one.template]


def _owners(claim: Object) -> Iterable[str]:
    owner = controller_of(claim)
    return [str(owner["uid"])] if owner is not None and owner["kind"] == "Pod" else []
