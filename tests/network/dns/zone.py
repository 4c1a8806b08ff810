"""A small zone: a ClusterIP Service, a headless one, an alias."""

from shirube.network.dns.records import Zone

WEB = {
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    },
}
DATABASE = {
    "metadata": {"namespace": "default", "name": "db"},
    "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
}
OUTSIDE = {
    "metadata": {"namespace": "default", "name": "outside"},
    "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"},
}
SLICE = {
    "metadata": {"namespace": "default", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
    "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.244.0.3"], "conditions": {"ready": True}},
        {"addresses": ["10.244.0.4"], "hostname": "db-2", "conditions": {"ready": False}},
    ],
}
SERVICES = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in (WEB, DATABASE, OUTSIDE)}


def zone():
    return Zone(
        "cluster.local",
        service=lambda namespace, name: SERVICES.get((namespace, name)),
        slices=lambda namespace, name: [SLICE] if (namespace, name) == ("default", "db") else [],
        namespace_exists=lambda name: name == "default",
        by_address=lambda a: ([WEB] if a == "10.96.0.7" else [], [SLICE] if a.startswith("10.244.") else []),
    )


async def nobody(packet, tcp):
    return None
