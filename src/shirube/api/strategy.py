"""The rules of one kind: defaults, what create and update keep or drop, validation, warnings.

The generic resource handler of the API server calls these in upstream's order:

* create: ``default``, ``prepare_for_create``, (mutating admission), ``validate``, ``warnings``;
* update: ``default``, ``prepare_for_update``, (mutating admission), ``validate_update``, ``warnings``;
* the status subresource: ``default``, ``prepare_for_status_update``, ``validate_status_update``.

A strategy is pure: objects are plain dicts of the *hub* version (``Resource.storage``), already type-checked
against the schema and free of nulls. ``default`` and ``prepare_*`` work in place on the new object only; the
old object is read-only. Server-owned metadata (uid, creationTimestamp, resourceVersion, managedFields,
deletion fields) is filled by the handler; ``validate`` checks all metadata that a client can get wrong.

Follows k8s.io/apiserver ``registry/rest`` (RESTCreateStrategy, RESTUpdateStrategy) and each kind's
``pkg/registry/<group>/<kind>/strategy.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api.validation import object_meta
from shirube.api.validation.equality import semantic_equal

if TYPE_CHECKING:
    from collections.abc import Callable

    from shirube.api.errors import Cause

Obj = dict[str, Any]


class Strategy:
    """The default rules: metadata is validated, status and spec are kept apart, generation counts spec changes.

    Subclasses override what their kind does otherwise and call ``super()``.
    """

    allow_create_on_update: bool = False
    # whether the kind has a status subresource: ordinary writes then leave the status alone
    has_status: bool = False
    # whether metadata.generation counts changes of the spec
    has_generation: bool = False
    namespaced: bool = True
    # messages about a bad name; the second argument says that it is a generateName prefix
    name_rule: Callable[[str, bool], list[str]] = staticmethod(object_meta.name_is_dns_subdomain)
    # whether finalizers without a domain have to be those that Kubernetes itself knows
    qualified_finalizers: bool = True
    # an update without resourceVersion overwrites whatever is there
    allow_unconditional_update: bool = True
    # what a deletion means for the dependents when it does not say; "" where no policy is heeded, as nobody follows
    # the kind's dependents
    default_propagation: str = "Background"
    # what to tell whoever deletes without saying
    unsaid_propagation_warning: str = ""

    def __init__(
        self,
        *,
        namespaced: bool | None = None,
        has_status: bool | None = None,
        has_generation: bool | None = None,
    ) -> None:
        if namespaced is not None:
            self.namespaced = namespaced
        if has_status is not None:
            self.has_status = has_status
        if has_generation is not None:
            self.has_generation = has_generation

    def default(self, obj: Obj) -> None:
        """Fill in what the user left out, in place."""

    def prepare_for_create(self, obj: Obj) -> None:
        """Drop what a creator may not set: the status, the generation."""
        if self.has_status:
            obj.pop("status", None)
        if self.has_generation:
            obj["metadata"]["generation"] = 1
        else:
            obj["metadata"].pop("generation", None)

    keeps_requester = False  # whether `prepare_for_requester` does anything

    def prepare_for_requester(self, obj: Obj, requester: Obj) -> None:
        """Write down who creates it, where the kind keeps that. `requester` is a UserInfo (authentication.k8s.io)."""

    keeps_times = False  # whether `stamp` does anything

    def stamp(self, obj: Obj, old: Obj, now: str) -> None:
        """Write down when it was changed, where the kind keeps that and the writer has not said. Not for creates."""

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        """Keep the old status, and count the generation up when anything else than metadata changed."""
        if self.has_status:
            keep(obj, old, "status")
        self.carry_generation(obj, old)

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        """Keep everything but the status: spec and metadata stay as they are.

        Upstream keeps the whole metadata for some kinds and only the spec for others; managedFields are the
        handler's. Labels and annotations may be changed through status, as upstream allows for most kinds.
        """
        for field in [f for f in obj if f not in ("apiVersion", "kind", "metadata", "status")]:
            if field not in old:
                del obj[field]
        for field, value in old.items():
            if field not in ("apiVersion", "kind", "metadata", "status"):
                obj[field] = value
        keep(obj["metadata"], old["metadata"], "generation")

    def carry_generation(self, obj: Obj, old: Obj) -> None:
        """Set metadata.generation from the old object's, one higher when the spec changed."""
        if not self.has_generation:
            keep(obj["metadata"], old["metadata"], "generation")
            return
        generation = old["metadata"].get("generation", 0)
        obj["metadata"]["generation"] = generation + 1 if self.spec_changed(obj, old) else generation

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        """Whether this update counts as a new generation."""
        return not semantic_equal(obj.get("spec"), old.get("spec"))

    def validate(self, obj: Obj) -> list[Cause]:
        """What is wrong with an object to be created."""
        causes = object_meta.validate(obj["metadata"], namespaced=self.namespaced, name_rule=self.name_rule)
        return causes + self._validate_finalizers(obj)

    def review(self, obj: Obj) -> tuple[list[Cause], list[str]]:
        """What is wrong with an object to be created, and if nothing is, what its user should know."""
        causes = self.validate(obj)
        return causes, ([] if causes else self.warnings(obj))

    def _validate_finalizers(self, obj: Obj) -> list[Cause]:
        return object_meta.validate_kube_finalizers(obj["metadata"]) if self.qualified_finalizers else []

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        """What is wrong with replacing the old object by this one."""
        return object_meta.validate_update(obj["metadata"], old["metadata"]) + self._validate_finalizers(obj)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        """What is wrong with replacing the old object's status."""
        return object_meta.validate_update(obj["metadata"], old["metadata"]) + self._validate_finalizers(obj)

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        """What a user should know about an object that is accepted all the same."""
        return []

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        """Values of the field selectors of this kind, without metadata.name and metadata.namespace."""
        return {}

    def grace_period(self, obj: Obj, requested: int | None) -> int:
        """Seconds that a deletion waits for the owner of the running thing; 0 deletes at once."""
        return 0


def keep(obj: Obj, old: Obj, field: str) -> None:
    """Set a field to what it was, absent when it was absent."""
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)
