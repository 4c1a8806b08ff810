"""core v1: pods, services, nodes, volumes and what they lean on."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, CREATE_ONLY, PROXY_VERBS, SCALE, STATUS, GroupTable, Row, Sub

TABLE = GroupTable(
    "",
    "v1",
    (
        Row("bindings", "Binding", verbs=CREATE_ONLY),
        Row("componentstatuses", "ComponentStatus", CLUSTER, verbs=("get", "list"), short="cs"),
        Row("configmaps", "ConfigMap", short="cm"),
        Row("endpoints", "Endpoints", short="ep"),
        Row("events", "Event", short="ev"),
        Row("limitranges", "LimitRange", short="limits"),
        Row(
            "namespaces",
            "Namespace",
            CLUSTER,
            verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
            short="ns",
            sub=(Sub("finalize", verbs=("update",)), STATUS),
        ),
        Row("nodes", "Node", CLUSTER, short="no", sub=(Sub("proxy", "NodeProxyOptions", PROXY_VERBS), STATUS)),
        Row("persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", sub=(STATUS,)),
        Row("persistentvolumes", "PersistentVolume", CLUSTER, short="pv", sub=(STATUS,)),
        Row(
            "pods",
            "Pod",
            short="po",
            categories="all",
            sub=(
                Sub("attach", "PodAttachOptions", ("create", "get")),
                Sub("binding", "Binding", CREATE_ONLY),
                Sub("ephemeralcontainers"),
                Sub("eviction", "Eviction", CREATE_ONLY, group="policy", version="v1"),
                Sub("exec", "PodExecOptions", ("create", "get")),
                Sub("log", verbs=("get",)),
                Sub("portforward", "PodPortForwardOptions", ("create", "get")),
                Sub("proxy", "PodProxyOptions", PROXY_VERBS),
                Sub("resize"),
                STATUS,
            ),
        ),
        Row("podtemplates", "PodTemplate"),
        Row(
            "replicationcontrollers",
            "ReplicationController",
            short="rc",
            categories="all",
            sub=(SCALE, STATUS),
        ),
        Row("resourcequotas", "ResourceQuota", short="quota", sub=(STATUS,)),
        Row("secrets", "Secret"),
        Row(
            "serviceaccounts",
            "ServiceAccount",
            short="sa",
            sub=(Sub("token", "TokenRequest", CREATE_ONLY, group="authentication.k8s.io", version="v1"),),
        ),
        Row(
            "services",
            "Service",
            short="svc",
            categories="all",
            sub=(Sub("proxy", "ServiceProxyOptions", PROXY_VERBS), STATUS),
        ),
    ),
)
