"""Every route of the server in one table: path, methods, handler, and how it is authorised.

`PATHS` are the URLs that are no resources, most specific first; `{}` stands for one segment, `{*}` for the rest.
Authorised as "path" (RBAC's nonResourceURLs, verb = method) or "always" (health endpoints, for probes that have
no identity; upstream's --authorization-always-allow-paths). Resource paths are routed by the resource table:
subresources that are handled specially by `subresources.HANDLERS`, all else by `resource.handler`; they are
authorised as "resource", always.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import orjson

from shirube import KUBERNETES_VERSION
from shirube.api import errors
from shirube.apiserver import discovery_cache, encoding, health, metrics, resource, scaling, zpages
from shirube.apiserver.aggregation import discovery as merged
from shirube.apiserver.aggregation import documents as merged_openapi
from shirube.apiserver.aggregation import proxying
from shirube.apiserver.authentication import discovery
from shirube.apiserver.subresources import HANDLERS
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, RouteHandler, ServerContext

Authorised = Literal["path", "always"]
GET = ("GET", "HEAD")


class Route(NamedTuple):
    path: str
    handler: RouteHandler
    authorised: Authorised = "path"
    methods: tuple[str, ...] = GET


async def index(server: ServerContext, rc: RequestContext) -> Response:
    """`/`: the paths that there are."""
    paths = [route.path for route in PATHS if "{" not in route.path and route.path != "/"]
    for group in server.table.groups():
        root = f"/apis/{group}" if group else "/api"
        paths += [root] if group else []
        paths += [f"{root}/{version}" for version in server.table.versions(group)]
    for endpoint, names in health.CHECKS.items():
        paths += [f"/{endpoint}/{name}" for name in names]
    return encoding.respond_raw(
        rc, orjson.dumps({"paths": sorted(paths)}, option=orjson.OPT_INDENT_2), "application/json"
    )


@lru_cache(maxsize=1)
def _commit() -> str:
    """What this was made from, where that is known: in a checkout."""
    git = Path(__file__).parents[3] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head
        if (git / name).exists():
            return (git / name).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")


async def version(server: ServerContext, rc: RequestContext) -> Response:
    major, minor = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
    document = {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": _commit(),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": "cpython",
        "platform": "linux/amd64",
    }
    return encoding.respond_raw(rc, orjson.dumps(document, option=orjson.OPT_INDENT_2), "application/json")


async def openid_configuration(server: ServerContext, rc: RequestContext) -> Response:
    """For whoever verifies our service-account tokens without asking us each time."""
    if server.authenticator.tokens is None:
        raise errors.path_not_found()
    options = server.options
    keys = f"https://{options.advertise_host}:{options.advertise_port}{discovery.JWKS_PATH}"
    body = discovery.openid_configuration(options.issuer, keys)
    return _public(encoding.respond_raw(rc, body, "application/json"))


async def jwks(server: ServerContext, rc: RequestContext) -> Response:
    if server.authenticator.tokens is None:
        raise errors.path_not_found()
    body = discovery.jwks(server.authenticator.tokens.keys)
    return _public(encoding.respond_raw(rc, body, discovery.JWKS_CONTENT_TYPE))


def _public(response: Response) -> Response:
    response.headers = [h for h in response.headers if h != encoding.NO_CACHE]
    response.headers.append(("Cache-Control", "public, max-age=3600"))
    return response


PATHS: tuple[Route, ...] = (
    Route("/", index),
    Route("/api", discovery_cache.api),
    Route("/api/{}", discovery_cache.resources),
    Route("/apis", merged.apis),
    Route("/apis/{}", merged.group),
    Route("/apis/{}/{}", merged.resources),
    Route("/flagz", zpages.flagz),
    Route("/healthz", health.handle, "always"),
    Route("/healthz/{*}", health.handle),
    Route("/livez", health.handle, "always"),
    Route("/livez/{*}", health.handle),
    Route("/readyz", health.handle, "always"),
    Route("/readyz/{*}", health.handle),
    Route("/metrics", metrics.handle),
    Route("/metrics/slis", metrics.slis),
    Route("/openapi/v2", merged_openapi.openapi_v2),
    Route("/openapi/v3", merged_openapi.index),
    Route("/openapi/v3/{*}", merged_openapi.one),
    Route("/statusz", zpages.statusz),
    Route("/version", version),
    Route(discovery.CONFIGURATION_PATH, openid_configuration),
    Route(discovery.JWKS_PATH, jwks),
)

_EXACT = {route.path: route for route in PATHS if "{" not in route.path}
_PATTERNS = [(route.path.split("/"), route) for route in PATHS if "{" in route.path]


def path_route(path: str) -> Route | None:
    """The route of a URL that is no resource; a trailing slash means nothing."""
    if len(path) > 1 and path.endswith("/"):
        path = path.rstrip("/") or "/"
    found = _EXACT.get(path)
    if found is not None:
        return found
    parts = path.split("/")
    for pattern, route in _PATTERNS:
        rest = pattern[-1] == "{*}"
        if len(parts) != len(pattern) and not (rest and len(parts) >= len(pattern)):
            continue
        fixed = pattern[:-1] if rest else pattern
        if all(want == "{}" or want == have for want, have in zip(fixed, parts, strict=False)):
            return route
    return None


# What a client is told that still uses an old API.
DEPRECATED = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
_ITEM_VERBS = frozenset(("create", "update", "patch"))


def resource_route(server: ServerContext, rc: RequestContext) -> RouteHandler:
    """The handler of a resource request. Raises ApiError 404, 405."""
    info, found = rc.info, rc.resource
    if found is None:
        elsewhere = proxying.handler(server, rc)
        if elsewhere is not None:
            return elsewhere
        raise errors.path_not_found()
    if info.namespace and not found.namespaced and found.name != "namespaces":
        raise errors.path_not_found()
    if found.namespaced and not info.namespace:
        if info.name:
            raise errors.path_not_found()
        if info.verb in ("create", "deletecollection") and not found.virtual:
            raise errors.method_not_allowed()
    if not info.subresource and bool(info.name) is (info.verb == "create") and info.verb in _ITEM_VERBS:
        raise errors.method_not_allowed()  # POST to an object, PUT or PATCH to a collection
    if found.definition is not None and found.definition.deprecation:
        rc.warnings.append(found.definition.deprecation)
    declared = found.subresources.get(info.subresource) if info.subresource else None
    if info.subresource and declared is None:
        raise errors.path_not_found()
    verbs = declared.verbs if declared is not None else found.verbs
    if (warning := DEPRECATED.get((found.group, found.version, found.name))) is not None:
        rc.warnings.append(warning)
    special = special_handler(found.group, f"{found.name}/{info.subresource}" if declared else found.name)
    if special is not None:
        if info.verb not in verbs and not (info.subresource == "proxy" and rc.request.method == "OPTIONS"):
            raise errors.method_not_allowed()
        return special
    if info.subresource == "scale" and info.verb in verbs:
        return scaling.VERBS[info.verb]
    handler = resource.handler(found, info.subresource, info.verb)
    if handler is None:
        raise errors.method_not_allowed()
    return handler


def special_handler(group: str, name: str) -> RouteHandler | None:
    """What answers a (sub)resource that is not simply stored."""
    return HANDLERS.get((group, name))
