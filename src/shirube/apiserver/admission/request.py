"""What a plugin sees of a write: the object, the old one, who and what for (`admission.Attributes` upstream)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.api.resources import Resource
from shirube.apiserver.user import User

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True)
class AdmissionRequest:
    operation: str  # CREATE UPDATE DELETE CONNECT
    resource: Resource
    subresource: str
    namespace: str
    name: str  # may be "" for a create with generateName
    obj: dict[str, Any] | None  # mutable in the mutating phase; None for DELETE
    old: dict[str, Any] | None  # read-only; None for CREATE
    user: User
    dry_run: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    served: Resource | None = None  # as the writer named it; `resource` is the stored version
    again: bool = False  # set by a plugin that wants all of the mutating phase to run once more
    second_round: bool = False
    annotations: dict[str, str] | None = None  # of the audit event; None: the request is not audited
    parts: dict[str, Any] = field(default_factory=dict)  # what plugins keep between rounds, by their names

    def annotate(self, key: str, value: str) -> None:
        """Tell the audit log. The first to use a key keeps it, as upstream."""
        if self.annotations is not None:
            self.annotations.setdefault(key, value)

    @property
    def requested(self) -> Resource:
        """The resource of the request, in the version that the writer named."""
        return self.served or self.resource

    @property
    def shown_name(self) -> str:
        """The name for messages; it may not have been generated yet."""
        meta = (self.obj or self.old or {}).get("metadata") or {}
        return self.name or meta.get("name") or meta.get("generateName") or "Unknown"

    def refusal(self, why: str) -> ApiError:
        """A 403 with upstream's wording: `pods "x" is forbidden: …`."""
        return errors.forbidden(self.resource, self.shown_name, why)
