"""Questions about identity and rights: who is this token, who am I, may they, may I, what may I.

Nothing is stored; the object comes back with its status filled in. See "Checking API access" and
"TokenReview" in the upstream documentation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.subresources.admitting import admit, only
from shirube.apiserver.user import User
from shirube.foundation.clock import rfc3339
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"


def user_info(user: User) -> Json:
    """A user as reviews show it."""
    return user.info()


async def _review(server: ServerContext, rc: RequestContext, group: str, kind: str) -> Json:
    only(rc, "create")
    review = await rc.body(group, "v1", kind)
    admitted = await admit(server, rc, "CREATE", review)
    return admitted if admitted is not None else review


async def review_token(server: ServerContext, rc: RequestContext) -> Response:
    review = await _review(server, rc, AUTHENTICATION, "TokenReview")
    spec = review.get("spec") or {}
    token = spec.get("token", "")
    if not token:
        raise errors.bad_request("token is required for TokenReview in authentication")
    audiences = spec.get("audiences") or list(server.authenticator.audiences)
    found = await server.authenticator.review(token, audiences, rc)
    if found is None:
        review["status"] = {"user": {}, "error": "[invalid bearer token]"}
    else:
        user, good = found
        review["status"] = {"authenticated": True, "user": user_info(user), "audiences": list(good)}
    return rc.respond(review, 201)


async def review_self(server: ServerContext, rc: RequestContext) -> Response:
    review = await _review(server, rc, AUTHENTICATION, "SelfSubjectReview")
    review["metadata"].setdefault("creationTimestamp", rfc3339(server.clock.now()))
    review["status"] = {"userInfo": user_info(rc.user)}
    return rc.respond(review, 201)


async def review_access(server: ServerContext, rc: RequestContext) -> Response:
    """SubjectAccessReview, LocalSubjectAccessReview, SelfSubjectAccessReview."""
    assert rc.resource is not None
    kind = rc.resource.kind
    review = await _review(server, rc, AUTHORIZATION, kind)
    spec = review.get("spec") or {}
    causes = _check_access(kind, spec, rc.namespace)
    if causes:
        raise errors.invalid(AUTHORIZATION, kind, "", causes)
    user = rc.user
    if kind != "SelfSubjectAccessReview":
        extra = {key.lower(): tuple(values) for key, values in (spec.get("extra") or {}).items()}
        user = User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)
    decision = await server.authorizer.authorize(attributes(spec, user))
    review["status"] = {"allowed": decision.allowed}
    if decision.final and not decision.allowed:
        review["status"]["denied"] = True
    if decision.reason:
        review["status"]["reason"] = decision.reason
    return rc.respond(review, 201)


def _check_access(kind: str, spec: Json, namespace: str) -> list[Cause]:
    about_resource, about_path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes = []
    if about_resource is not None and about_path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        causes.append(Cause.invalid("spec.nonResourceAttributes", about_path, detail))
    if about_resource is None and about_path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(Cause.invalid("spec.resourceAttributes", None, detail))
    if kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        causes.append(Cause.invalid("spec.user", "", "at least one of user or group must be specified"))
    if kind == "LocalSubjectAccessReview":
        if about_path is not None:
            detail = "disallowed on this kind of request"
            causes.append(Cause.invalid("spec.nonResourceAttributes", about_path, detail))
        if about_resource is not None and about_resource.get("namespace") != namespace:
            detail = "must match metadata.namespace"
            causes.append(
                Cause.invalid("spec.resourceAttributes.namespace", about_resource.get("namespace", ""), detail)
            )
    return causes


def attributes(spec: Json, user: User) -> Attributes:
    """What the authoriser is asked for the spec of an access review."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb", ""), path=path.get("path", ""), is_resource=False)
    asked = spec["resourceAttributes"]
    return Attributes(
        user,
        asked.get("verb", ""),
        asked.get("group", ""),
        asked.get("version", ""),
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
        field_selector=_raw_selector(asked.get("fieldSelector"), {"In": "=", "NotIn": "!="}),
        label_selector=_raw_selector(asked.get("labelSelector"), _LABELS),
    )


_ESCAPED = re.compile(r"[\\,=]")
_LABELS = {"In": " in ", "NotIn": " notin ", "Exists": "", "DoesNotExist": "!"}


def _escape(found: re.Match[str]) -> str:
    return "\\" + found[0]


def _raw_selector(selector: Json | None, operators: dict[str, str]) -> str:
    """A selector as a query would have it. What cannot be said so is left out, which asks for more, not for less."""
    if not selector:
        return ""
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    terms = []
    for r in selector.get("requirements") or ():
        key, values, operator = r.get("key", ""), r.get("values") or [], operators.get(r.get("operator", ""))
        if operator in ("=", "!=") and len(values) == 1:
            terms.append(key + operator + _ESCAPED.sub(_escape, values[0]))
        elif operator in (" in ", " notin ") and values:
            terms.append(f"{key}{operator}({','.join(values)})")
        elif operator in ("", "!") and not values:
            terms.append(f"{operator}{key}")
    return ",".join(terms)


async def review_rules(server: ServerContext, rc: RequestContext) -> Response:
    review = await _review(server, rc, AUTHORIZATION, "SelfSubjectRulesReview")
    namespace = (review.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    review["status"] = server.authorizer.rules_for(rc.user, namespace)
    return rc.respond(review, 201)
