"""The extension API server of metrics.k8s.io/v1beta1: get and list of nodes and pods, for the API server's front proxy.

Labels and the question whether an object is still there are the API server's to answer, at the moment of each request
(a metadata-only list with the request's selectors), so this server keeps no objects.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.api.gvr import GVR, NODES, PODS
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.metrics_server import documents
from shirube.metrics_server.access import Authorizer, Wish, user
from shirube.metrics_server.usage import Book
from shirube.serving.http import Request, Response, Upgrade

Json = dict[str, Any]
_logger = log.get("metrics-server")
_ROOT = f"/apis/{documents.GROUP_VERSION}"
_HEALTH = ("/healthz", "/livez", "/readyz")
_KINDS = {"nodes": "NodeMetrics", "pods": "PodMetrics"}
_TABLE = "as=Table"


class MetricsApi:
    """Requests to answers."""

    def __init__(self, client: Client, book: Book, clock: Clock) -> None:
        self._client = client
        self._book = book
        self._clock = clock
        self._authorizer = Authorizer(client, clock)
        self._documents = _fixed_documents()

    async def handle(self, request: Request) -> Response | Upgrade:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _json(error.status(), error.code)
        except TimeoutError:
            return _json(errors.service_unavailable("the API server does not answer").status(), 503)

    async def _answer(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if path in _HEALTH:
            return Response(200, b"ok", content_type="text/plain; charset=utf-8")
        who = user(request.headers, request.peer, self._clock.now())
        if who is None:
            raise errors.unauthorized()
        wish = _wish(path)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed(_gvr(wish), request.method.lower())
        if not await self._authorizer.allowed(who, wish):
            if wish.resource:
                why = (
                    f'User "{who.name}" cannot {wish.verb} resource "{wish.resource}" in API group "{documents.GROUP}"'
                )
                raise errors.forbidden(_gvr(wish), wish.name, why)
            raise errors.forbidden("", "", f'User "{who.name}" cannot get path "{path}"')
        if wish.resource:
            return await self._resource(request, wish)
        document = self._documents.get(path)
        if document is None:
            raise errors.path_not_found()
        return Response(200, document)

    async def _resource(self, request: Request, wish: Wish) -> Response:
        parameters = {key: values[-1] for key, values in parse_qs(request.query).items()}
        if parameters.get("watch") in ("true", "1"):
            raise errors.method_not_allowed(_gvr(wish), "watch")
        items = await (self._nodes(wish, parameters) if wish.resource == "nodes" else self._pods(wish, parameters))
        if wish.name and not items:
            raise errors.not_found(_gvr(wish), f"{wish.namespace}/{wish.name}".lstrip("/"))
        if _TABLE in (request.headers.get("accept") or "").split(",")[0]:
            return _json(documents.table(items))
        return _json(items[0] if wish.name else documents.listed(_KINDS[wish.resource], items))

    async def _nodes(self, wish: Wish, parameters: dict[str, str]) -> list[Json]:
        usage, now = self._book.nodes(), self._clock.now()
        return [
            documents.node_metrics(metadata, usage[metadata["name"]], now)
            for metadata in await self._objects(NODES, wish, parameters)
            if metadata["name"] in usage
        ]

    async def _pods(self, wish: Wish, parameters: dict[str, str]) -> list[Json]:
        usage, now = self._book.pods(wish.namespace), self._clock.now()
        return [
            documents.pod_metrics(metadata, containers, now)
            for metadata in await self._objects(PODS, wish, parameters)
            if (containers := usage.get((metadata["namespace"], metadata["name"]))) is not None
        ]

    async def _objects(self, gvr: GVR, wish: Wish, parameters: dict[str, str]) -> list[Json]:
        """The metadata of what was asked for. Raises ApiError 400 for a bad selector."""
        selectors = {key: parameters[key] for key in ("labelSelector", "fieldSelector") if parameters.get(key)}
        if wish.name:
            selectors = {"fieldSelector": f"metadata.name={wish.name}"}
        found = await self._client.list(
            gvr, wish.namespace or None, metadata_only=True, resourceVersion="0", **selectors
        )
        return [item["metadata"] for item in found.get("items") or ()]


def _gvr(wish: Wish) -> GVR:
    return GVR(documents.GROUP, documents.VERSION, wish.resource)


def _wish(path: str) -> Wish:
    """Raises ApiError 404 for a path below ours that names nothing."""
    if not path.startswith(_ROOT + "/"):
        return Wish(path)
    parts = [unquote(part) for part in path.removeprefix(_ROOT + "/").split("/")]
    match parts:
        case ["nodes" | "pods" as resource]:
            return Wish(path, "list", resource)
        case ["nodes", name] if name:
            return Wish(path, "get", "nodes", "", name)
        case ["namespaces", namespace, "pods"] if namespace:
            return Wish(path, "list", "pods", namespace)
        case ["namespaces", namespace, "pods", name] if namespace and name:
            return Wish(path, "get", "pods", namespace, name)
    raise errors.path_not_found()


def _fixed_documents() -> dict[str, bytes]:
    v3 = orjson.dumps(documents.openapi_v3())
    where = f"/openapi/v3{_ROOT}"
    index = {"paths": {_ROOT[1:]: {"serverRelativeURL": f"{where}?hash={hashlib.sha256(v3).hexdigest()[:32].upper()}"}}}
    return {
        "/apis": orjson.dumps(documents.groups()),
        f"/apis/{documents.GROUP}": orjson.dumps(documents.group()),
        _ROOT: orjson.dumps(documents.resources()),
        "/openapi/v2": orjson.dumps(documents.openapi_v2()),
        "/openapi/v3": orjson.dumps(index),
        where: v3,
    }


def _json(obj: Json, status: int = 200) -> Response:
    return Response(status, orjson.dumps(obj))
