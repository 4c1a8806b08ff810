"""Priority levels and flow schemas that every cluster has: upstream's defaults for v1.36.

See "API Priority and Fairness" in the upstream documentation.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def _queue(shares: int, lendable: int, queues: int, hand: int = 6) -> Json:
    queuing = {"handSize": hand, "queueLengthLimit": 50, "queues": queues}
    limited = {
        "lendablePercent": lendable,
        "limitResponse": {"queuing": queuing, "type": "Queue"},
        "nominalConcurrencyShares": shares,
    }
    return {"limited": limited, "type": "Limited"}


PRIORITY_LEVELS: dict[str, Json] = {
    "catch-all": {
        "limited": {
            "lendablePercent": 0,
            "limitResponse": {"type": "Reject"},
            "nominalConcurrencyShares": 5,
        },
        "type": "Limited",
    },
    "exempt": {"exempt": {"lendablePercent": 0, "nominalConcurrencyShares": 0}, "type": "Exempt"},
    "global-default": _queue(20, 50, 128),
    "leader-election": _queue(10, 0, 16, hand=4),
    "node-high": _queue(40, 25, 64),
    "system": _queue(30, 33, 64),
    "workload-high": _queue(40, 50, 128),
    "workload-low": _queue(100, 90, 128),
}


def _resources(groups: list[str], resources: list[str], verbs: list[str], cluster: bool = False) -> Json:
    rule: Json = {"apiGroups": groups}
    if cluster:
        rule["clusterScope"] = True
    return rule | {"namespaces": ["*"], "resources": resources, "verbs": verbs}


def _user(name: str) -> Json:
    return {"kind": "User", "user": {"name": name}}


def _group(name: str) -> Json:
    return {"group": {"name": name}, "kind": "Group"}


def _schema(precedence: int, level: str, subjects: list[Json], by: str = "", rules: Json | None = None) -> Json:
    everything = {
        "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
        "resourceRules": [_resources(["*"], ["*"], ["*"], cluster=True)],
    }
    spec: Json = {"distinguisherMethod": {"type": by}} if by else {}
    return spec | {
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [{**(rules or everything), "subjects": subjects}],
    }


_EVERYBODY = [_group("system:unauthenticated"), _group("system:authenticated")]
_SYSTEM_ACCOUNTS = {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}
_LEADERS = [_user("system:kube-controller-manager"), _user("system:kube-scheduler"), _SYSTEM_ACCOUNTS]
_LEASES = _resources(["coordination.k8s.io"], ["leases"], ["get", "create", "update"])
_PROBES = {"nonResourceURLs": ["/healthz", "/readyz", "/livez"], "verbs": ["get"]}
_NODE_STATUS = [
    _resources([""], ["nodes", "nodes/status"], ["*"], cluster=True),
    _resources(["coordination.k8s.io"], ["leases"], ["*"]),
]

FLOW_SCHEMAS: dict[str, Json] = {
    "catch-all": _schema(10000, "catch-all", _EVERYBODY, "ByUser"),
    "exempt": _schema(1, "exempt", [_group("system:masters")]),
    "global-default": _schema(9900, "global-default", _EVERYBODY, "ByUser"),
    "kube-controller-manager": _schema(800, "workload-high", [_user("system:kube-controller-manager")], "ByNamespace"),
    "kube-scheduler": _schema(800, "workload-high", [_user("system:kube-scheduler")], "ByNamespace"),
    "kube-system-service-accounts": _schema(900, "workload-high", [_SYSTEM_ACCOUNTS], "ByNamespace"),
    "probes": _schema(2, "exempt", _EVERYBODY, rules={"nonResourceRules": [_PROBES]}),
    "service-accounts": _schema(9000, "workload-low", [_group("system:serviceaccounts")], "ByUser"),
    "system-leader-election": _schema(100, "leader-election", _LEADERS, "ByUser", {"resourceRules": [_LEASES]}),
    "system-node-high": _schema(400, "node-high", [_group("system:nodes")], "ByUser", {"resourceRules": _NODE_STATUS}),
    "system-nodes": _schema(500, "system", [_group("system:nodes")], "ByUser"),
}
