"""What a URL asks for: upstream's RequestInfo, as one pure function of method, path and query.

Verbs are upstream's: get list watch create update patch delete deletecollection for resources, the lower-case
HTTP method for everything else. `proxy` subresources keep the rest of the path, still percent-encoded. The old
`/watch/` prefix is understood. Segments that no name may contain ("." "..", "/", "%") are refused here, so
that nothing behind ever builds a storage key from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from shirube.api import errors

# Subresources of namespaces that are about the Namespace object, not resources inside it.
NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))

_LONG_VERBS = frozenset(("watch", "proxy"))
_LONG_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(slots=True)
class RequestInfo:
    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    remainder: str = ""  # of a proxied path: what follows ".../proxy", raw, with its leading "/"

    @property
    def long_running(self) -> bool:
        """It lasts as long as its client wants: watches, streams, proxied requests."""
        return self.verb in _LONG_VERBS or self.subresource in _LONG_SUBRESOURCES


def _segment(raw: str) -> str:
    text = unquote(raw) if "%" in raw else raw
    if text in (".", "..") or "/" in text or "%" in text or "\x00" in text:
        raise errors.bad_request(f"invalid path segment {text!r}: may not be '.' or '..' or contain '/' or '%'")
    return text


def _after_prefix(parts: list[str]) -> tuple[str, str, list[str]] | None:
    """(group, version, the rest) of a resource path, or None."""
    if parts[0] == "api" and len(parts) > 2:
        return "", parts[1], parts[2:]
    if parts[0] == "apis" and len(parts) > 3:
        return parts[1], parts[2], parts[3:]
    return None


def parse(method: str, path: str, watch: bool = False) -> RequestInfo:
    """`watch` says whether the query asks to watch."""
    raw = path[1:].split("/") if path[:1] == "/" else path.split("/")
    while len(raw) > 1 and raw[-1] == "" and "proxy" not in raw:
        raw.pop()  # a trailing slash means nothing, except behind a proxied path
    found = _after_prefix(raw)
    if found is None:
        return RequestInfo(method.lower(), path)
    group, version, rest = found
    # Most paths have nothing that a segment could be refused for.
    segment = _segment if "%" in path or "/." in path or "\x00" in path else str
    verb = _VERBS.get(method, "")
    info = RequestInfo(verb, path, True, segment(group), segment(version))
    if rest[0] == "watch" and len(rest) > 1:
        # The prefix makes a watch even of a path with a name; the query parameter only of a collection.
        info.verb, watch, rest = "watch", True, rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = segment(rest[1])
        if len(rest) > 2 and rest[2] not in NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    info.resource = segment(rest[0])
    if len(rest) > 1:
        info.name = segment(rest[1])
    if len(rest) > 2:
        info.subresource = segment(rest[2])
    if len(rest) > 3:
        if info.subresource != "proxy":
            raise errors.ApiError(404, "NotFound", "the server could not find the requested resource")
        info.remainder = "/" + "/".join(rest[3:])
    if not info.name:
        if verb == "get":
            info.verb = "watch" if watch else "list"
        elif verb == "delete":
            info.verb = "deletecollection"
    if info.resource == "namespaces" and info.name:
        info.namespace = info.name  # as upstream: roles inside a namespace may speak of the Namespace itself
    return info
