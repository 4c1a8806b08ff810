"""TokenRequest: a token for a service account, bound to a pod, secret or node if asked (KEP-1205)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.errors import ApiError, Cause
from shirube.api.gvr import NODES, PODS, SECRETS, SERVICEACCOUNTS
from shirube.apiserver.admission.service_account import EXPIRATION_SECONDS
from shirube.apiserver.authentication.service_account_tokens import Bound
from shirube.apiserver.subresources.admitting import admit, only
from shirube.foundation.clock import rfc3339
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
GROUP = "authentication.k8s.io"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
# Clients that never reload their token get a year; the claim `warnafter` says when they should have
# (KEP-1205, "safe rollout": upstream's --service-account-extend-token-expiration).
EXTENDED_SECONDS = 365 * 24 * 3600
_BINDABLE = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}


async def create_token(server: ServerContext, rc: RequestContext) -> Response:
    """POST of a TokenRequest for the account of the path."""
    only(rc, "create")
    tokens = server.authenticator.tokens
    if tokens is None:
        raise errors.internal_error("cannot issue tokens: the server has no service-account key")
    request = await rc.body(GROUP, "v1", "TokenRequest")
    meta, spec = request["metadata"], request.setdefault("spec", {})
    for field, given, expected in (
        ("name", meta.get("name"), rc.name),
        ("namespace", meta.get("namespace"), rc.namespace),
    ):
        if given and given != expected:
            raise errors.bad_request(f"the {field} of the provided object does not match the {field} of the URL")
    if not spec.get("expirationSeconds"):
        spec["expirationSeconds"] = DEFAULT_SECONDS
    if not spec.get("audiences"):
        spec["audiences"] = list(server.authenticator.audiences)
    _check(spec["expirationSeconds"])
    account = await server.store.get(SERVICEACCOUNTS, rc.namespace, rc.name)
    request = await admit(server, rc, "CREATE", request) or request
    spec = request["spec"]
    bound, node = await _bound(server, rc, spec.get("boundObjectRef"))
    seconds = asked = spec["expirationSeconds"]
    warn_after = None
    if asked == EXPIRATION_SECONDS and set(spec["audiences"]) == set(server.authenticator.audiences):
        seconds, warn_after = EXTENDED_SECONDS, asked
    now = server.clock.now()
    token = ""
    if not rc.dry_run:
        token = tokens.issue(account, spec["audiences"], seconds, bound=bound, node=node, warn_after=warn_after)
    meta.update(name=rc.name, namespace=rc.namespace, creationTimestamp=rfc3339(now))
    request["status"] = {"token": token, "expirationTimestamp": rfc3339(now + asked)}
    return rc.respond(request, 201)


def _check(seconds: int) -> None:
    path = "spec.expirationSeconds"
    wrong = []
    if seconds < MIN_SECONDS:
        wrong.append(Cause.invalid(path, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > MAX_SECONDS:
        wrong.append(Cause.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
    if wrong:
        raise errors.invalid(GROUP, "TokenRequest", "", wrong)


async def _bound(server: ServerContext, rc: RequestContext, ref: Json | None) -> tuple[Bound | None, Bound | None]:
    """(what the token is bound to, the node of that pod)."""
    if not ref:
        return None, None
    kind, name, uid = ref.get("kind", ""), ref.get("name", ""), ref.get("uid", "")
    gvr = _BINDABLE.get(kind)
    if gvr is None or ref.get("apiVersion") not in ("v1", "", None):
        shown = f"/{ref.get('apiVersion', '')}, Kind={kind}"
        raise errors.bad_request(f"cannot bind token to object of type {shown}")
    found = await server.store.get(gvr, "" if gvr == NODES else rc.namespace, name)
    have = found["metadata"]["uid"]
    if uid and uid != have:
        raise errors.conflict(
            gvr,
            name,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might "
            "have been deleted and then recreated",
        )
    node = None
    if kind == "Pod":
        spec = found.get("spec") or {}
        if spec.get("serviceAccountName") != rc.name:
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{rc.name}" to pod running with different serviceaccount name.'
            )
        node = await _node(server, spec.get("nodeName", ""))
    return Bound(kind, name, have), node


async def _node(server: ServerContext, name: str) -> Bound | None:
    if not name:
        return None
    try:
        node = await server.store.get(NODES, "", name)
    except ApiError as error:
        if error.code != 404:
            raise
        return Bound("Node", name, "")
    return Bound("Node", name, node["metadata"]["uid"])
