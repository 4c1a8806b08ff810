"""Status of ValidatingAdmissionPolicies: which generation has been looked at, and what it gets wrong about the types
that it matches.

Upstream: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking. Types are
those that the server publishes: discovery says which kind a collection has, the group version's OpenAPI document what
the kind looks like; only group versions that some policy names are ever asked for, and a document is read again only
when its hash has changed. `typeChecking` is there also when it has nothing to say, which is how clients know that the
check is over. Unlike upstream, which looks once at each generation of a policy, a policy is looked at again when a
definition of what it matches comes, changes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import CUSTOMRESOURCEDEFINITIONS, GVR, VALIDATINGADMISSIONPOLICIES
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Client, Object
from shirube.controllers.context import Context

if TYPE_CHECKING:
    from shirube.api.cel.type_checking import Matched
    from shirube.api.schema.types import Type

_ACCOUNT = "validatingadmissionpolicy-status-controller"
_MANAGER = "validatingadmissionpolicy-status"
_PUBLISHED = 5.0  # seconds after which any server's documents tell of a definition that has changed
_AGAIN = 30.0  # seconds to the next look when a document could not be read


def named_collections(policy: Object) -> Iterator[GVR]:
    from shirube.api.cel import type_checking  # loaded with the first policy: most clusters have none

    return type_checking.named(policy)


def expression_warnings(policy: Object, kinds: list[Matched]) -> list[Object]:
    from shirube.api.cel import type_checking

    return type_checking.warnings(policy, kinds)


def status_change(policy: Object, warnings: list[Object], *, complete: bool = True) -> Object | None:
    """What the policy's status lacks, as a merge patch; None when it says all that is known.

    Not `complete`: some types could not be learned, so what has been found of this generation before stays.
    """
    status, generation = policy.get("status") or {}, policy["metadata"].get("generation", 1)
    checking = {"expressionWarnings": warnings} if warnings else {}
    looked_at = status.get("observedGeneration") == generation and "typeChecking" in status
    if looked_at and (not complete or status["typeChecking"] == checking):
        return None
    return {"status": {"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings or None}}}


class PublishedTypes:
    """Kinds and their types, as the server tells of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, dict[str, Type | None]] = {}  # document, with its hash -> kind -> type

    async def of(self, policy: Object) -> tuple[list[Matched], bool]:
        """The kinds that a policy names and the server serves; whether there may be more, whose server is silent."""
        from shirube.api.cel.type_checking import MAX_KINDS, Matched

        found: list[Matched] = []
        complete = True
        documents: dict[str, Object] = {}
        for gvr in named_collections(policy):
            if len(found) == MAX_KINDS:
                break
            try:
                kind = await self._kind(gvr, documents)
                type_ = await self._type(gvr, kind, documents) if kind else None
            except ApiError as error:
                if error.code != 404:
                    complete = False
                continue
            if kind and type_ is not None:
                found.append(Matched(gvr.group_version, kind, type_))
        return found, complete

    async def _read(self, path: str, documents: dict[str, Object]) -> Object:
        """A document, at most once in a look."""
        if path not in documents:
            documents[path] = orjson.loads(await self._client.raw("GET", path))
        return documents[path]

    async def _kind(self, gvr: GVR, documents: dict[str, Object]) -> str | None:
        served = await self._read(gvr.path().removesuffix("/" + gvr.resource), documents)
        return next((r["kind"] for r in served.get("resources") or () if r["name"] == gvr.resource), None)

    async def _type(self, gvr: GVR, kind: str, documents: dict[str, Object]) -> Type | None:
        from shirube.api.schema import published

        index = (await self._read("/openapi/v3", documents))["paths"]
        where = index.get(gvr.path().removesuffix("/" + gvr.resource).removeprefix("/"))
        if where is None:
            return None
        url = where["serverRelativeURL"]
        if url not in self._known:
            current = {path["serverRelativeURL"] for path in index.values()}
            kept = {known: kinds for known, kinds in self._known.items() if known in current}
            self._known = {**kept, url: {}}
        kinds = self._known[url]
        if kind not in kinds:
            document = await self._read(url.partition("?")[0], documents)
            kinds[kind] = published.type_of(document, gvr.group, gvr.version, kind)
        return kinds[kind]


class ValidatingPolicyStatusController(Controller[str]):
    name = "validatingadmissionpolicy-status-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._policies = context.informer(VALIDATINGADMISSIONPOLICIES)
        self._definitions = context.informer(CUSTOMRESOURCEDEFINITIONS, metadata_only=True)
        super().__init__(self._policies, self._definitions)
        self._client = context.client_of(_ACCOUNT)
        self._types = PublishedTypes(self._client)
        self._policies.add_handler(self._enqueue, lambda _, new: self._enqueue(new))
        self._definitions.add_handler(self._defined, lambda _, new: self._defined(new), self._defined)

    def _enqueue(self, policy: Object) -> None:
        self.queue.add(key_of(policy))

    def _defined(self, definition: Object) -> None:
        """Look at the policies that match it, and once more when every server has had time to publish it."""
        for policy in self._policies.store:
            names = {f"{gvr.resource}.{gvr.group}" for gvr in named_collections(policy)}
            if definition["metadata"]["name"] in names:
                self._enqueue(policy)
                self.queue.add_after(key_of(policy), _PUBLISHED)

    async def reconcile(self, key: str) -> float | None:
        policy = self._policies.store.get(None, key)
        if policy is None:
            return None
        kinds, complete = await self._types.of(policy)
        change = status_change(policy, expression_warnings(policy, kinds), complete=complete)
        if change is not None:
            await self._client.patch(
                VALIDATINGADMISSIONPOLICIES, key, change, subresource="status", field_manager=_MANAGER
            )
        return None if complete else _AGAIN
