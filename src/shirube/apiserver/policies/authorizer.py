"""The CEL variable `authorizer`: may somebody do something? Asked of the server's own authoriser.

A check is put together as a map, step by step (`authorizer.group("apps").resource("deployments").namespace("a")
.check("get").allowed()`), because maps are what the engine passes to functions. The authoriser decides from memory, so
its coroutine is run to its end at once; what only an authorisation webhook could answer is an error of the expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.user import User

if TYPE_CHECKING:
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
TAG, DECISION = "@authorizer", "@decision"


def root(req: AdmissionRequest) -> Json:
    """`authorizer`, and in it `requestResource`: the resource of the request itself."""
    own = {
        TAG: "resource",
        "group": req.requested.group,
        "resource": req.requested.name,
        "subresource": req.subresource,
        "namespace": req.namespace,
        "name": req.name,
    }
    return {TAG: "root", "requestResource": own}


def functions(server: ServerContext, req: AdmissionRequest) -> Mapping[str, Callable[..., Any]]:
    def check(target: Any, verb: str) -> Json:
        return {DECISION: _decide(server, req.user, _step(target), verb)}

    return {
        "group": lambda target, group: {**_step(target), TAG: "group", "group": group},
        "resource": lambda target, name: {**_step(target), TAG: "resource", "resource": name},
        "subresource": lambda target, name: {**_step(target), "subresource": name},
        "namespace": lambda target, name: {**_step(target), "namespace": name},
        "name": lambda target, name: {**_step(target), "name": name},
        "path": lambda target, path: {**_step(target), TAG: "path", "path": path},
        "serviceAccount": _as_service_account,
        "fieldSelector": lambda target, text: {**_step(target), "fieldSelector": text},
        "labelSelector": lambda target, text: {**_step(target), "labelSelector": text},
        "check": check,
        "allowed": lambda decision: _decision(decision)["allowed"],
        "reason": lambda decision: _decision(decision)["reason"],
        "errored": lambda decision: False,
        "error": lambda decision: "",
    }


def _as_service_account(target: Any, namespace: str, name: str) -> Json:
    own = {"account": [namespace, name]}
    return {**_step(target), **own, "requestResource": {**target.get("requestResource", {}), **own}}


def _step(target: Any) -> Json:
    if not isinstance(target, dict) or TAG not in target:
        raise ValueError("no such overload")
    return target


def _decision(value: Any) -> Json:
    if not isinstance(value, dict) or DECISION not in value:
        raise ValueError("no such overload")
    found: Json = value[DECISION]
    return found


def _decide(server: ServerContext, user: User, target: Json, verb: str) -> Json:
    if account := target.get("account"):
        namespace, name = account
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        user = User(f"system:serviceaccount:{namespace}:{name}", groups=groups)
    resource = target[TAG] != "path"
    attributes = Attributes(
        user,
        verb,
        target.get("group", ""),
        "*",
        target.get("resource", ""),
        target.get("subresource", ""),
        target.get("namespace", ""),
        target.get("name", ""),
        target.get("path", ""),
        resource,
        target.get("fieldSelector", ""),
        target.get("labelSelector", ""),
    )
    running = server.authorizer.authorize(attributes)
    try:
        running.send(None)
    except StopIteration as done:
        return {"allowed": done.value.allowed, "reason": done.value.reason}
    running.close()
    raise ValueError("the decision is a webhook's, which expressions cannot wait for")
