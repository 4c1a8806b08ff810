"""What a request travels with: the server's parts, and everything known about the one request.

`ServerContext` is made once by `main`; every room of the API server reaches its neighbours through it.
`RequestContext` is made by `handle` and filled in step by step along the pipeline; the handlers of the route
table, generic and special ones alike, take both: `async def handler(server, rc) -> Response | Upgrade`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shirube.apiserver import decoding, encoding
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.metrics import Metrics
from shirube.apiserver.options import Options
from shirube.apiserver.params import Params
from shirube.apiserver.request_info import RequestInfo
from shirube.apiserver.user import User
from shirube.foundation.chance import Chance
from shirube.foundation.clock import Clock
from shirube.serving.messages import Request, Response, Upgrade

if TYPE_CHECKING:
    from shirube.api.resources import Resource, ResourceTable
    from shirube.apiserver.admission import Admission
    from shirube.apiserver.audit import Auditor
    from shirube.apiserver.audit.events import Record
    from shirube.apiserver.authentication import Authenticator
    from shirube.apiserver.authorization import Authorizer
    from shirube.apiserver.caches import Caches
    from shirube.apiserver.configuration_file import ConfigurationFile
    from shirube.apiserver.discovery_cache import Documents
    from shirube.apiserver.encryption import EncryptedStorage
    from shirube.apiserver.fairness import Class, Fairness
    from shirube.apiserver.health import Health
    from shirube.apiserver.reader import Reader
    from shirube.apiserver.store import Store
    from shirube.apiserver.watcher import Watcher
    from shirube.storage.types import Storage


@dataclass(slots=True)
class ServerContext:
    options: Options
    clock: Clock
    chance: Chance
    table: ResourceTable
    storage: Storage
    caches: Caches  # of(resource) -> WatchCache
    reader: Reader = field(init=False)
    store: Store = field(init=False)
    authenticator: Authenticator = field(init=False)
    authorizer: Authorizer = field(init=False)
    admission: Admission = field(init=False)
    health: Health = field(init=False)
    documents: Documents = field(init=False)
    fairness: Fairness = field(init=False)
    audit: Auditor | None = None
    encryption: EncryptedStorage | None = None  # `storage`, when values are encrypted at rest
    files: dict[str, ConfigurationFile] = field(default_factory=dict)  # configuration that is followed, by name
    started: float = field(init=False)  # on the monotonic clock
    metrics: Metrics = field(default_factory=Metrics)
    watchers: set[Watcher] = field(default_factory=set)  # being served; ended when the server stops
    extensions: dict[str, Any] = field(default_factory=dict)  # parts of other rooms, by name


@dataclass(slots=True)
class RequestContext:
    server: ServerContext
    request: Request
    info: RequestInfo
    params: Params
    user: User
    attributes: Attributes
    audit_id: str
    resource: Resource | None = None  # of the path; None for paths that are no resources
    audit: Record | None = None  # what the audit log is told; None: nothing
    flow: Class | None = None  # how priority and fairness classified it
    warnings: list[str] = field(default_factory=list)  # become `Warning: 299 - "…"` headers
    annotations: dict[str, str] | None = None  # of audit events, said before there is a record

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def annotate(self, key: str, value: str) -> None:
        """For the audit log. What authentication says comes before it is known whether there is one."""
        if self.audit is not None:
            self.audit.annotations[key] = value
        else:
            self.annotations = {**(self.annotations or {}), key: value}

    @property
    def namespace(self) -> str:
        """The namespace of the path; "" for cluster-scoped resources and for all namespaces."""
        return self.info.namespace if self.resource is None or self.resource.namespaced else ""

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def dry_run(self) -> bool:
        return self.params.dry_run()

    async def body(self, group: str, version: str, kind: str) -> dict[str, Any]:
        """The request's object, decoded (JSON, YAML or protobuf by Content-Type), its apiVersion and kind
        checked or filled in, unknown fields dealt with as `fieldValidation` says. Raises ApiError."""
        return await decoding.body_of_kind(self, group, version, kind)

    async def optional_body(self, group: str, version: str, kind: str) -> dict[str, Any] | None:
        """Like `body`; None when the request carries none (DeleteOptions, Eviction)."""
        return await decoding.optional_body_of_kind(self, group, version, kind)

    def respond(self, obj: dict[str, Any], status: int = 200) -> Response:
        """`obj` in the encoding that the request accepts, with this request's warnings."""
        return encoding.respond(self, obj, status)


RouteHandler = Callable[[ServerContext, RequestContext], Awaitable[Response | Upgrade]]
