"""Deployment: revisions of a pod template, rolled out by sizing one ReplicaSet up and the others down.

`deployment_rollout` says which sizes are next, `deployment_status` what to report; this module reads the
caches and carries the plan out, one step a reconcile: the ReplicaSets' changes bring it back for the next
step. Undo is nothing special: `kubectl rollout undo` writes an old template, whose ReplicaSet is found again
and gets a new revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shirube.api.errors import ApiError
from shirube.api.gvr import DEPLOYMENTS, PODS, REPLICASETS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import deployment_rollout as rollout
from shirube.controllers import deployment_status as report
from shirube.controllers.context import Context
from shirube.controllers.ownership import (
    Claimer,
    controller_of,
    controller_reference,
    deleting,
    index_by_controller,
    owned,
    owned_and_orphans,
)
from shirube.controllers.pod_control import namespace_terminating
from shirube.controllers.pods import condition, finished
from shirube.controllers.told import Told

_ACCOUNT = "deployment-controller"


class DeploymentController(Controller[str]):
    name = "deployment-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._deployments = context.informer(DEPLOYMENTS)
        self._sets = context.informer(REPLICASETS)
        self._pods = context.informer(PODS)
        super().__init__(self._deployments, self._sets, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._claimer = Claimer(self._client, DEPLOYMENTS, "Deployment", REPLICASETS)
        self._written: dict[str, Object] = {}  # uid of a ReplicaSet -> as we wrote it, until the cache has it
        self._told = Told(report.without_zeros)
        index_by_controller(self._sets)
        index_by_controller(self._pods)
        self._deployments.add_handler(self._enqueue, self._updated, self._enqueue)
        self._sets.add_handler(self._set_changed, self._set_updated, self._set_deleted)
        self._pods.add_handler(on_delete=self._pod_deleted)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, deployment: Object) -> None:
        self.queue.add(key_of(deployment))

    def _updated(self, old: Object, new: Object) -> None:
        if not self._told.echo(old, new):
            self._enqueue(new)

    def _owner(self, replica_set: Object) -> Object | None:
        reference = controller_of(replica_set)
        if reference is None or reference["kind"] != "Deployment":
            return None
        found = self._deployments.store.get(replica_set["metadata"]["namespace"], reference["name"])
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    def _set_changed(self, replica_set: Object) -> None:
        if controller_of(replica_set) is not None:
            if (owner := self._owner(replica_set)) is not None:
                self._enqueue(owner)
            return
        labels = replica_set["metadata"].get("labels") or {}
        for deployment in self._deployments.store.list(replica_set["metadata"]["namespace"]):
            if self._selector(deployment).matches(labels):
                self._enqueue(deployment)

    def _set_updated(self, old: Object, new: Object) -> None:
        if controller_of(old) != controller_of(new) and (before := self._owner(old)) is not None:
            self._enqueue(before)
        self._set_changed(new)

    def _set_deleted(self, replica_set: Object) -> None:
        self._written.pop(replica_set["metadata"]["uid"], None)
        self._set_changed(replica_set)

    def _pod_deleted(self, pod: Object) -> None:
        """Recreate waits for the last old pod to be gone."""
        reference = controller_of(pod)
        if reference is None or reference["kind"] != "ReplicaSet":
            return
        replica_set = self._sets.store.get(pod["metadata"]["namespace"], reference["name"])
        if replica_set is None or (owner := self._owner(replica_set)) is None:
            return
        if not rollout.is_rolling(owner):
            self._enqueue(owner)

    @staticmethod
    def _selector(deployment: Object) -> LabelSelector:
        return label_selector_from(deployment["spec"].get("selector"))

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        deployment = self._deployments.store.get(*split_key(key))
        if deployment is None:
            self._told.forget(key)
            return None
        selector = self._selector(deployment)
        if selector.empty:
            self._recorder.event(
                deployment,
                WARNING,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )
            return None
        sets = await self._claimer.claim(deployment, owned_and_orphans(self._sets, deployment), selector)
        sets = [self._latest(rs) for rs in sets]
        if deleting(deployment):
            await self._write_plain_status(deployment, sets)
            return None
        if (changed := report.paused_condition(deployment, self._clock.now())) is not None:
            status = deployment.get("status") or {}
            conditions = report.with_condition(list(status.get("conditions") or ()), changed)
            deployment = await self._client.update_status(
                DEPLOYMENTS, {**deployment, "status": {**status, "conditions": conditions}}
            )
        if deployment["spec"].get("paused") or rollout.is_scaling(deployment, sets):
            await self._resize(deployment, sets)
            return None
        if rollout.is_rolling(deployment):
            return await self._roll(deployment, sets)
        return await self._recreate(deployment, sets)

    def _latest(self, replica_set: Object) -> Object:
        """As we wrote it, if the cache is older: a size that we have given already is not given twice."""
        uid = replica_set["metadata"]["uid"]
        written = self._written.get(uid)
        if written is None:
            return replica_set
        if int(written["metadata"]["resourceVersion"]) > int(replica_set["metadata"]["resourceVersion"]):
            return written
        del self._written[uid]
        return replica_set

    async def _update_set(self, replica_set: Object) -> Object:
        written = await self._client.update(REPLICASETS, replica_set)
        self._written[written["metadata"]["uid"]] = written
        return written

    async def _resize(self, deployment: Object, sets: list[Object]) -> None:
        deployment, new, olds = await self._revisions(deployment, sets, create=False)
        await self._scale(deployment, rollout.rescale(deployment, new, olds))
        if deployment["spec"].get("paused"):
            await self._clean_up(deployment, olds)
        await self._write_plain_status(deployment, [*olds, new] if new else olds, new)

    async def _roll(self, deployment: Object, sets: list[Object]) -> float | None:
        deployment, new, olds = await self._revisions(deployment, sets, create=True)
        assert new is not None
        steps = rollout.scale_new(deployment, new, olds) or rollout.scale_olds(deployment, new, olds)
        if not await self._scale(deployment, steps) and self._complete(deployment, [*olds, new], new):
            await self._clean_up(deployment, olds)
        return await self._write_rollout_status(deployment, [*olds, new], new)

    async def _recreate(self, deployment: Object, sets: list[Object]) -> float | None:
        deployment, new, olds = await self._revisions(deployment, sets, create=False)
        every = [*olds, new] if new else olds
        steps = [rollout.Scale(rs, 0) for rs in rollout.active_sets(olds)]
        if await self._scale(deployment, steps) or self._old_pods_running(olds):
            return await self._write_rollout_status(deployment, every, new)
        if new is None:
            deployment, new, olds = await self._revisions(deployment, sets, create=True)
            assert new is not None
        await self._scale(deployment, rollout.scale_new(deployment, new, olds))
        if self._complete(deployment, [*olds, new], new):
            await self._clean_up(deployment, olds)
        return await self._write_rollout_status(deployment, [*olds, new], new)

    def _old_pods_running(self, olds: Iterable[Object]) -> bool:
        """Also such as our cache does not show yet: a set that has not seen that it is to have none may make some."""
        return any(
            rollout.behind(rs) or rollout.held_by(rs) or any(not finished(pod) for pod in owned(self._pods, rs))
            for rs in olds
        )

    # -- revisions ------------------------------------------------------------------------------------------

    async def _revisions(
        self, deployment: Object, sets: list[Object], *, create: bool
    ) -> tuple[Object, Object | None, list[Object]]:
        """(deployment, new ReplicaSet, old ReplicaSets), revisions numbered, the new one made if asked for."""
        new = rollout.find_new(deployment, sets)
        olds = [rs for rs in sets if new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]]
        revision = max((rollout.revision_of(rs) for rs in olds), default=0) + 1
        if new is not None:
            new = await self._keep_up(deployment, new, revision)
        elif create:
            deployment, new = await self._create_set(deployment, olds, revision)
        if new is not None:
            deployment = await self._number(deployment, new)
        return deployment, new, olds

    async def _keep_up(self, deployment: Object, new: Object, revision: int) -> Object:
        """The new ReplicaSet with the deployment's annotations, revision and minReadySeconds."""
        annotations = rollout.new_set_annotations(deployment, new, revision)
        wait = deployment["spec"].get("minReadySeconds") or 0
        if annotations == (new["metadata"].get("annotations") or {}) and wait == (
            new["spec"].get("minReadySeconds") or 0
        ):
            return new
        return await self._update_set(
            {
                **new,
                "metadata": {**new["metadata"], "annotations": annotations},
                "spec": {**new["spec"], "minReadySeconds": wait},
            },
        )

    async def _number(self, deployment: Object, new: Object) -> Object:
        """The deployment's own revision annotation, and a first Progressing condition. The annotation goes with the
        status: it is no change of what is wanted, and must not raise the generation."""
        revision = (new["metadata"].get("annotations") or {}).get(rollout.REVISION, "")
        annotations = deployment["metadata"].get("annotations") or {}
        if revision and annotations.get(rollout.REVISION) != revision:
            metadata = {
                **deployment["metadata"],
                "annotations": {**annotations, rollout.REVISION: revision},
            }
            deployment = await self._client.update_status(DEPLOYMENTS, {**deployment, "metadata": metadata})
        if report.has_deadline(deployment) and condition(deployment, report.PROGRESSING) is None:
            message = f'Found new replica set "{new["metadata"]["name"]}"'
            deployment = self._with_progress(deployment, "True", "FoundNewReplicaSet", message)
        return deployment

    def _with_progress(self, deployment: Object, status: str, reason: str, message: str) -> Object:
        """A copy that says so; written with the status at the end of the reconcile."""
        if not report.has_deadline(deployment):
            return deployment
        old = deployment.get("status") or {}
        new = report.new_condition(report.PROGRESSING, status, reason, message, self._clock.now())
        conditions = report.with_condition(list(old.get("conditions") or ()), new)
        return {**deployment, "status": {**old, "conditions": conditions}}

    def _set_for(self, deployment: Object, olds: list[Object], revision: int) -> Object:
        template = deployment["spec"]["template"]
        collisions = (deployment.get("status") or {}).get("collisionCount")
        digest = rollout.template_hash(template, collisions)
        labels = {
            **((template.get("metadata") or {}).get("labels") or {}),
            rollout.HASH_LABEL: digest,
        }
        selector = deployment["spec"]["selector"]
        matched = {**(selector.get("matchLabels") or {}), rollout.HASH_LABEL: digest}
        spec: Object = {
            "replicas": rollout.new_set_replicas(deployment, olds, None),
            "selector": {**selector, "matchLabels": matched},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        }
        if deployment["spec"].get("minReadySeconds"):
            spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{digest}",
                "namespace": deployment["metadata"]["namespace"],
                "labels": labels,
                "annotations": {
                    **rollout.new_set_annotations(deployment, None, revision),
                    **rollout.replica_annotations(deployment),
                },
                "ownerReferences": [controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": spec,
        }

    async def _create_set(self, deployment: Object, olds: list[Object], revision: int) -> tuple[Object, Object]:
        wanted = self._set_for(deployment, olds, revision)
        name = wanted["metadata"]["name"]
        try:
            made = await self._client.create(REPLICASETS, wanted)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return deployment, await self._collided(deployment, wanted)
            if not namespace_terminating(error):
                await self._refused(deployment, name, error)
            raise
        replicas = rollout.replicas_of(made)
        if replicas:
            self._recorder.event(
                deployment,
                NORMAL,
                "ScalingReplicaSet",
                f"Scaled up replica set {name} from 0 to {replicas}",
            )
        message = f'Created new replica set "{name}"'
        return self._with_progress(deployment, "True", "NewReplicaSetCreated", message), made

    async def _collided(self, deployment: Object, wanted: Object) -> Object:
        """The name is taken: by the set that we made ourselves and have not seen yet, or by another
        template."""
        metadata = wanted["metadata"]
        there = await self._client.get(REPLICASETS, metadata["name"], metadata["namespace"])
        owner = controller_of(there)
        if (
            owner is not None
            and owner["uid"] == deployment["metadata"]["uid"]
            and rollout.plain_template(there["spec"]["template"])
            == rollout.plain_template(deployment["spec"]["template"])
        ):
            return there
        status = deployment.get("status") or {}
        count = int(status.get("collisionCount") or 0) + 1
        await self._client.update_status(DEPLOYMENTS, {**deployment, "status": {**status, "collisionCount": count}})
        raise ApiError(409, "AlreadyExists", f"replica set {metadata['name']} has another template")

    async def _refused(self, deployment: Object, name: str, error: ApiError) -> None:
        message = f'Failed to create new replica set "{name}": {error.message}'
        if report.has_deadline(deployment):
            told = self._with_progress(deployment, "False", "ReplicaSetCreateError", message)
            if told["status"] != deployment.get("status"):
                await self._client.update_status(DEPLOYMENTS, told)
        self._recorder.event(deployment, WARNING, "ReplicaSetCreateError", message)

    # -- acting ---------------------------------------------------------------------------------------------

    async def _scale(self, deployment: Object, steps: Iterable[rollout.Scale]) -> bool:
        """Carry sizes out. True when any replica count changed."""
        changed = False
        annotations = rollout.replica_annotations(deployment)
        for replica_set, replicas in steps:
            metadata = replica_set["metadata"]
            before = rollout.replicas_of(replica_set)
            merged = {**(metadata.get("annotations") or {}), **annotations}
            if before == replicas and merged == metadata.get("annotations"):
                continue
            await self._update_set(
                {
                    **replica_set,
                    "metadata": {**metadata, "annotations": merged},
                    "spec": {**replica_set["spec"], "replicas": replicas},
                },
            )
            if before != replicas:
                changed = True
                word = "up" if replicas > before else "down"
                self._recorder.event(
                    deployment,
                    NORMAL,
                    "ScalingReplicaSet",
                    f"Scaled {word} replica set {metadata['name']} from {before} to {replicas}",
                )
        return changed

    async def _clean_up(self, deployment: Object, olds: list[Object]) -> None:
        async def delete(replica_set: Object) -> None:
            metadata = replica_set["metadata"]
            try:
                await self._client.delete(
                    REPLICASETS,
                    metadata["name"],
                    metadata["namespace"],
                    preconditions={"uid": metadata["uid"]},
                )
            except ApiError as error:
                if error.code != 404:
                    raise

        await asyncio.gather(*(delete(rs) for rs in rollout.to_clean_up(deployment, olds)))

    # -- reporting ------------------------------------------------------------------------------------------

    def _complete(self, deployment: Object, sets: list[Object], new: Object) -> bool:
        status = report.counts(deployment, sets, new, self._clock.now())
        return report.complete(deployment, status)

    async def _write_plain_status(self, deployment: Object, sets: list[Object], new: Object | None = None) -> None:
        new = new or rollout.find_new(deployment, sets)
        await self._write(deployment, report.counts(deployment, sets, new, self._clock.now()))

    async def _write_rollout_status(self, deployment: Object, sets: list[Object], new: Object | None) -> float | None:
        now = self._clock.now()
        status = report.rollout_status(deployment, sets, new, now)
        await self._write(deployment, status)
        return report.progress_check_after(deployment, status, now)

    async def _write(self, deployment: Object, status: Object) -> None:
        status = report.without_zeros(status)
        self._told.remember(key_of(deployment), status)
        cached = self._deployments.store.get(deployment["metadata"]["namespace"], deployment["metadata"]["name"])
        written = (cached or {}).get("status") or {}
        if status != report.without_zeros(written):
            await self._client.update_status(DEPLOYMENTS, {**deployment, "status": status})
