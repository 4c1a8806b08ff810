"""Requests that are not reads and writes of a stored object: one table, (group, resource/subresource) to handler.

The route table asks here before it turns to the generic handler. Every handler takes the server and the request
(authenticated and authorised) and answers, or upgrades the connection. Admission is the handler's business
(`admitting`). Modules are named for what they do; `tunnel`, `node_agent` and `http_stream` are what logs, exec,
port-forward and proxies are made of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shirube.apiserver.subresources import (
    binding,
    component_statuses,
    eviction,
    pod_logs,
    pod_streams,
    proxying,
    reviews,
    token_request,
)
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

SubresourceHandler = Callable[["ServerContext", "RequestContext"], Awaitable[Response | Upgrade]]

HANDLERS: dict[tuple[str, str], SubresourceHandler] = {
    ("", "bindings"): binding.bind,
    ("", "pods/binding"): binding.bind,
    ("", "pods/eviction"): eviction.evict,
    ("", "pods/log"): pod_logs.read,
    ("", "pods/exec"): pod_streams.exec_in,
    ("", "pods/attach"): pod_streams.attach,
    ("", "pods/portforward"): pod_streams.port_forward,
    ("", "pods/proxy"): proxying.pod,
    ("", "services/proxy"): proxying.service,
    ("", "nodes/proxy"): proxying.node,
    ("", "serviceaccounts/token"): token_request.create_token,
    ("", "componentstatuses"): component_statuses.read,
    ("authentication.k8s.io", "tokenreviews"): reviews.review_token,
    ("authentication.k8s.io", "selfsubjectreviews"): reviews.review_self,
    ("authorization.k8s.io", "subjectaccessreviews"): reviews.review_access,
    ("authorization.k8s.io", "localsubjectaccessreviews"): reviews.review_access,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): reviews.review_access,
    ("authorization.k8s.io", "selfsubjectrulesreviews"): reviews.review_rules,
}
