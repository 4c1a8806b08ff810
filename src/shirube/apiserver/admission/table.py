"""The plugins that are on, in upstream's order (`pkg/kubeapiserver/options/plugins.go`)."""

from __future__ import annotations

from shirube.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from shirube.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from shirube.apiserver.admission.not_enforced import NotEnforced
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.priority import Priority
from shirube.apiserver.admission.rbac_escalation import RbacEscalation
from shirube.apiserver.admission.service_account import ServiceAccount
from shirube.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition

PLUGINS: tuple[type[Plugin], ...] = (
    NamespaceLifecycle,
    ServiceAccount,
    TaintNodesByCondition,
    Priority,
    DefaultTolerationSeconds,
    RbacEscalation,
    NotEnforced,
)
