"""StatefulSet: pods with a number, a name and storage of their own.

`stateful_set_plan` says what is next, `stateful_set_identity` what a pod and its claims look like, `revisions`
keeps the templates; this module reads the caches and carries the plan out. Names are fixed, so a pod made twice
by a stale cache is refused by the server: no expectations are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shirube.api.errors import ApiError, conflict
from shirube.api.gvr import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from shirube.api.selectors import LabelSelector, label_selector_from
from shirube.client.controller import Controller
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import pods as of_pods
from shirube.controllers import revisions as history
from shirube.controllers import stateful_set_identity as identity
from shirube.controllers.context import Context
from shirube.controllers.ownership import (
    Claimer,
    controller_of,
    deleting,
    index_by_controller,
    owned_and_orphans,
)
from shirube.controllers.pod_control import namespace_terminating, slow_start
from shirube.controllers.stateful_set_plan import (
    Plan,
    comparable,
    in_range,
    ordinal_of,
    plan,
    revision_of,
    status_of,
)
from shirube.controllers.told import Told

_ACCOUNT = "statefulset-controller"


def _counted(pod: Object) -> tuple[object, ...]:
    """What of a pod decides what is next, or is told."""
    metadata = pod["metadata"]
    return (
        of_pods.phase(pod),
        of_pods.condition(pod, "Ready"),
        metadata.get("deletionTimestamp"),
        metadata.get("labels"),
        metadata.get("ownerReferences"),
    )


class StatefulSetController(Controller[str]):
    name = "statefulset-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._sets = context.informer(STATEFULSETS)
        self._pods = context.informer(PODS)
        self._revisions = context.informer(CONTROLLERREVISIONS)
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        super().__init__(self._sets, self._pods, self._revisions, self._claims)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder(self.name, _ACCOUNT)
        self._clock = context.clock
        self._claimer = Claimer(self._client, STATEFULSETS, "StatefulSet", PODS)
        self._revision_claimer = Claimer(self._client, STATEFULSETS, "StatefulSet", CONTROLLERREVISIONS)
        self._history = history.RevisionHistory(self._client, STATEFULSETS, "StatefulSet")
        index_by_controller(self._pods)
        index_by_controller(self._revisions)
        self._seen = Told(comparable)
        self._sets.add_handler(self._enqueue, self._set_updated, self._set_gone)
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_gone)
        self._claims.add_handler(on_update=self._claim_updated, on_delete=self._claim_gone)

    # -- what wakes us -------------------------------------------------------------------------------------

    def _enqueue(self, owner: Object) -> None:
        self.queue.add(key_of(owner))

    def _set_updated(self, old: Object, new: Object) -> None:
        if not self._seen.echo(old, new):
            self._enqueue(new)

    def _set_gone(self, owner: Object) -> None:
        self._seen.forget(key_of(owner))
        self._enqueue(owner)

    def _pod_changed(self, pod: Object) -> None:
        reference = controller_of(pod)
        namespace = pod["metadata"]["namespace"]
        if reference is not None:
            if reference["kind"] == "StatefulSet":
                self.queue.add(f"{namespace}/{reference['name']}")
            return
        labels = pod["metadata"].get("labels") or {}
        if not labels:
            return
        for owner in self._sets.store.list(namespace):
            if self._selector(owner).matches(labels):
                self._enqueue(owner)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if old is not new and _counted(old) == _counted(new):
            return
        if controller_of(old) != controller_of(new):
            self._pod_changed(old)
        self._pod_changed(new)

    def _pod_gone(self, pod: Object) -> None:
        """Whosever it was: one of ours may have waited for its name."""
        self._pod_changed(pod)
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"].rpartition("-")[0]
        if self._sets.store.get(namespace, name) is not None:
            self.queue.add(f"{namespace}/{name}")

    def _claim_updated(self, old: Object, new: Object) -> None:
        if old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
            self._claim_gone(new)

    def _claim_gone(self, claim: Object) -> None:
        """A pod may have waited for an old claim of that name to be gone, or wait for a claim that somebody took."""
        metadata = claim["metadata"]
        for owner in self._sets.store.list(metadata["namespace"]):
            if identity.has_claim(owner, metadata["name"]):
                self._enqueue(owner)

    @staticmethod
    def _selector(owner: Object) -> LabelSelector:
        return label_selector_from(owner["spec"].get("selector"))

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.store.get(*split_key(key))
        if owner is None:
            return None
        selector = self._selector(owner)
        if selector.empty:
            return None
        name = owner["metadata"]["name"]
        pods = await self._claimer.claim(
            owner,
            owned_and_orphans(self._pods, owner),
            selector,
            member=lambda pod: ordinal_of(pod["metadata"]["name"], name) >= 0,
        )
        kept = await self._revision_claimer.claim(owner, owned_and_orphans(self._revisions, owner), selector)
        if deleting(owner):
            old = owner.get("status") or {}
            names = old.get("currentRevision") or "", old.get("updateRevision") or ""
            await self._report(owner, pods, *names, old.get("collisionCount"))
            return None
        labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}  # the selector matches these
        update, collisions = await self._history.current(owner, kept, labels)
        current = self._current(owner, kept, update)
        names = current["metadata"]["name"], update["metadata"]["name"]
        todo = plan(owner, pods, *names, self._clock.now())
        templates = {r["metadata"]["name"]: r for r in (*kept, current, update)}
        failure: ApiError | None = None
        try:
            await self._act(owner, todo, pods, templates)
        except ApiError as error:
            failure = error
        status = await self._report(owner, pods, *names, collisions)
        if failure is not None:
            raise failure
        live = {status.get("currentRevision"), *names} | {revision_of(p) for p in pods}
        for revision in history.to_clean_up(kept, live, owner["spec"].get("revisionHistoryLimit")):
            await self._history.delete(revision)
        return of_pods.next_available(pods, int(owner["spec"].get("minReadySeconds") or 0), self._clock.now())

    @staticmethod
    def _current(owner: Object, kept: list[Object], update: Object) -> Object:
        """The revision that the status calls current; the update when there is none (a first rollout)."""
        wanted = (owner.get("status") or {}).get("currentRevision")
        return next((r for r in kept if r["metadata"]["name"] == wanted), update)

    async def _report(
        self, owner: Object, pods: list[Object], current: str, update: str, collisions: int | None
    ) -> Object:
        status = status_of(owner, pods, current, update, collisions, self._clock.now())
        if status["currentRevision"] == current:
            self._seen.remember(key_of(owner), status)
        else:  # a rollout is done: with that revision the next look goes on, and clears away what is old
            self._seen.forget(key_of(owner))
        if comparable(owner.get("status") or {}) != status:
            await self._client.update_status(STATEFULSETS, {**owner, "status": status})
        return status

    # -- acting ---------------------------------------------------------------------------------------------

    async def _act(self, owner: Object, todo: Plan, pods: list[Object], templates: dict[str, Object]) -> None:
        there = {ordinal_of(p["metadata"]["name"], owner["metadata"]["name"]): p for p in pods}
        for pod in todo.mend:
            await self._mend(owner, pod)
        for ordinal, pod in there.items():
            if not in_range(owner, ordinal):
                await self._keep_claims(owner, ordinal, pod)
        for pod in todo.replace:
            word = "failed" if of_pods.phase(pod) == "Failed" else "terminated"
            metadata = pod["metadata"]
            self._recorder.event(
                owner,
                WARNING if word == "failed" else NORMAL,
                f"Recreating{word.capitalize()}Pod",
                f"StatefulSet {metadata['namespace']}/{owner['metadata']['name']} is recreating {word} "
                f"Pod {metadata['name']}",
            )
            await self._delete(owner, pod)

        async def create(number: int) -> None:
            ordinal, revision = todo.create[number]
            await self._create(owner, ordinal, revision, templates[revision])

        _, error = await slow_start(len(todo.create), create)
        if error is not None and not namespace_terminating(error):
            raise error
        for pod in todo.delete:
            await self._delete(owner, pod)

    async def _told(self, owner: Object, verb: str, pod: str, work: Callable[[], Awaitable[Object | None]]) -> None:
        about = f"{verb} Pod {pod} in StatefulSet {owner['metadata']['name']}"
        try:
            await work()
        except ApiError as error:
            if verb == "delete" and error.code == 404:
                return
            if not namespace_terminating(error) and error.reason != "AlreadyExists":
                message = f"{about} failed error: {error.message}"
                self._recorder.event(owner, WARNING, f"Failed{verb.capitalize()}", message)
            raise
        self._recorder.event(owner, NORMAL, f"Successful{verb.capitalize()}", f"{about} successful")

    async def _create(self, owner: Object, ordinal: int, revision: str, kept: Object) -> None:
        pod = identity.new_pod(owner, history.template_of(kept), ordinal, revision)

        async def create() -> None:
            await self._make_claims(owner, ordinal)
            await self._client.create(PODS, pod)

        if not self._stale_claims(owner, ordinal):
            await self._told(owner, "create", pod["metadata"]["name"], create)

    async def _delete(self, owner: Object, pod: Object) -> None:
        metadata = pod["metadata"]
        await self._told(
            owner,
            "delete",
            metadata["name"],
            lambda: self._client.delete(
                PODS, metadata["name"], metadata["namespace"], preconditions={"uid": metadata["uid"]}
            ),
        )

    async def _mend(self, owner: Object, pod: Object) -> None:
        """A pod that lacks its labels, or whose claims are gone or not kept as the set says."""
        metadata = pod["metadata"]
        ordinal = ordinal_of(metadata["name"], owner["metadata"]["name"])
        if of_pods.phase(pod) == "Pending":
            await self._make_claims(owner, ordinal, pod)
        await self._keep_claims(owner, ordinal, pod)
        if labels := identity.wrong_labels(owner, pod):
            await self._told(
                owner,
                "update",
                metadata["name"],
                lambda: self._client.patch(
                    PODS, metadata["name"], {"metadata": {"labels": labels}}, metadata["namespace"]
                ),
            )

    # -- claims ---------------------------------------------------------------------------------------------

    def _claims_there(self, owner: Object, ordinal: int) -> list[Object]:
        names = [identity.claim_name(owner, template, ordinal) for template in identity.claim_templates(owner)]
        found = [self._claims.store.get(owner["metadata"]["namespace"], name) for name in names]
        return [claim for claim in found if claim is not None]

    def _stale_claims(self, owner: Object, ordinal: int) -> bool:
        """Whether a claim is about to go with a former pod of that name: its end wakes us."""
        there = self._claims_there(owner, ordinal)
        return any(not deleting(claim) and identity.stale(owner, claim, None) for claim in there)

    async def _make_claims(self, owner: Object, ordinal: int, pod: Object | None = None) -> None:
        for wanted in identity.new_claims(owner, ordinal):
            metadata = wanted["metadata"]
            there = self._claims.store.get(metadata["namespace"], metadata["name"])
            if there is not None:
                if pod is None and deleting(there):
                    raise conflict(PERSISTENTVOLUMECLAIMS, metadata["name"], "it is being deleted")
                continue
            references = identity.claim_owners(owner, ordinal, pod, wanted)
            if references:
                wanted = {**wanted, "metadata": {**metadata, "ownerReferences": references}}
            await self._make_claim(owner, ordinal, wanted)

    async def _make_claim(self, owner: Object, ordinal: int, wanted: Object) -> None:
        name = wanted["metadata"]["name"]
        about = (
            f"create Claim {name} Pod {identity.pod_name(owner, ordinal)} in StatefulSet {owner['metadata']['name']}"
        )
        try:
            await self._client.create(PERSISTENTVOLUMECLAIMS, wanted)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return
            self._recorder.event(owner, WARNING, "FailedCreate", f"{about} failed error: {error.message}")
            raise
        self._recorder.event(owner, NORMAL, "SuccessfulCreate", f"{about} success")

    async def _keep_claims(self, owner: Object, ordinal: int, pod: Object) -> None:
        for template in identity.claim_templates(owner):
            name = identity.claim_name(owner, template, ordinal)
            claim = self._claims.store.get(owner["metadata"]["namespace"], name)
            if claim is None or deleting(claim):
                continue
            references = identity.claim_owners(owner, ordinal, pod, claim)
            if references is None:
                continue
            metadata = {**claim["metadata"], "ownerReferences": references}
            await self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "metadata": metadata})
