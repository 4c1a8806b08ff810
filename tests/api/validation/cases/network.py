"""Services, their addresses and endpoints, ingresses and network policies."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
# fmt: off
from __future__ import annotations

NET = "networking.k8s.io"
SERVICE = {"metadata": {"name": "w"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
SLICE = {"metadata": {"name": "w"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "port": 80, "protocol": "TCP"}]}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
INGRESS = {"metadata": {"name": "w"}, "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}]}}
POLICY = {"metadata": {"name": "w"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80, "protocol": "TCP"}]}], "egress": [{"to": [{"podSelector": {"matchLabels": {"c": "d"}}}]}]}}

BASES = {
    "service": (("", "v1", "services"), SERVICE),
    "balanced": (("", "v1", "services"), {"metadata": {"name": "w"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}),
    "external": (("", "v1", "services"), {"metadata": {"name": "w"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}),
    "endpoints": (("", "v1", "endpoints"), {"metadata": {"name": "w"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    "slice": (("discovery.k8s.io", "v1", "endpointslices"), SLICE),
    "ingress": ((NET, "v1", "ingresses"), INGRESS),
    "class": ((NET, "v1", "ingressclasses"), {"metadata": {"name": "w"}, "spec": {"controller": "example.com/c", "parameters": {"kind": "K", "name": "n", "scope": "Cluster"}}}),
    "policy": ((NET, "v1", "networkpolicies"), POLICY),
    "address": ((NET, "v1", "ipaddresses"), {"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}),
    "range": ((NET, "v1", "servicecidrs"), {"metadata": {"name": "w"}, "spec": {"cidrs": ["10.0.0.0/24", "fd00::/112"]}}),
}

PORT = "spec.ports[0]"
RULE = "spec.rules[0].http.paths[0]"
LABEL = "a lowercase RFC 1123 label must consist of…"
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of…"
RANGE = "must be between 1 and 65535, inclusive"


def port(**more):
    return "spec/ports", [{"port": 80, **more}]


def path(**more):
    return "spec/rules/0/http/paths", [{"path": "/", "pathType": "Prefix", "backend": BACKEND, **more}]


def peer(**what):
    return "spec/ingress", [{"from": [what]}]


def policy_port(**what):
    return "spec/ingress", [{"ports": [what]}]


def endpoint(**what):
    return "endpoints", [{"addresses": ["10.0.0.1"], **what}]


PEER = "spec.ingress[0].from[0]"

BAD = [
    # services
    ("service", "spec/ports", [], "spec.ports: Required value"),
    ("service", *port(port=0), f"{PORT}.port: Invalid value: 0: {RANGE}"),
    ("service", *port(port=65536), f"{PORT}.port: Invalid value: 65536: {RANGE}"),
    ("service", *port(protocol="ICMP"), f'{PORT}.protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'),
    ("service", *port(name="A"), f'{PORT}.name: Invalid value: "A": {LABEL}'),
    ("service", *port(targetPort=70000), f"{PORT}.targetPort: Invalid value: 70000: {RANGE}"),
    ("service", *port(targetPort="-"), f'{PORT}.targetPort: Invalid value: "-": must contain at least one letter (a-z)'),
    ("service", *port(nodePort=30000), f"{PORT}.nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
    ("service", *port(appProtocol="a b"), f'{PORT}.appProtocol: Invalid value: "a b": name part must consist of…'),
    ("service", "spec/ports", [{"port": 80}, {"port": 81}], "spec.ports[0].name: Required value"),
    ("service", "spec/ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}], 'spec.ports[1].name: Duplicate value: "a"'),
    ("service", "spec/ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}], 'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'),
    ("service", "spec/selector", {"a": "b c"}, 'spec.selector: Invalid value: "b c": a valid label must be…'),
    ("service", "spec/sessionAffinity", "Always", 'spec.sessionAffinity: Unsupported value: "Always": supported values: "ClientIP", "None"'),
    ("service", {"spec/sessionAffinity": "ClientIP", "spec/sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}, None, "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400"),
    ("service", "spec/type", "Mesh", 'spec.type: Unsupported value: "Mesh": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ("service", "spec/clusterIP", "10.0.0", "spec.clusterIPs[0]: Invalid value: …"),
    ("service", {"spec/clusterIPs": ["10.0.0.1", "10.0.0.2", "fd00::1"], "spec/clusterIP": "10.0.0.1"}, None, "spec.clusterIPs: Invalid value: …: may only hold up to 2 values"),
    ("service", {"spec/clusterIPs": ["10.0.0.1", "10.0.0.2"], "spec/clusterIP": "10.0.0.1"}, None, "spec.clusterIPs: Invalid value: …: may specify no more than one IP for each IP family"),
    ("service", {"spec/clusterIPs": ["None", "10.0.0.2"], "spec/clusterIP": "None"}, None, "spec.clusterIPs: Invalid value: …"),
    ("service", "spec/ipFamilies", ["IPv5"], 'spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'),
    ("service", "spec/ipFamilies", ["IPv4", "IPv4"], 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
    ("service", "spec/ipFamilyPolicy", "Both", 'spec.ipFamilyPolicy: Unsupported value: "Both": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"'),
    ("service", "spec/externalIPs", ["127.0.0.1"], 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
    ("service", "spec/externalIPs", ["169.254.1.1"], 'spec.externalIPs[0]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)'),
    ("service", "spec/externalIPs", ["0.0.0.0"], 'spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)'),
    ("service", "spec/externalIPs", ["224.0.0.1"], 'spec.externalIPs[0]: Invalid value: "224.0.0.1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'),
    ("service", "spec/externalIPs", ["x"], 'spec.externalIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ("service", "spec/externalTrafficPolicy", "Local", 'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'),
    ("service", "spec/internalTrafficPolicy", "Near", 'spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"'),
    ("service", "spec/trafficDistribution", "Near", 'spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"'),
    ("service", "spec/loadBalancerClass", "a.b/c", "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"),
    ("service", "spec/allocateLoadBalancerNodePorts", True, "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"),
    ("service", "spec/loadBalancerSourceRanges", ["10.0.0.0/8"], "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"),
    ("service", "spec/healthCheckNodePort", 30000, "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"),
    ("service", "metadata/annotations", {"service.kubernetes.io/topology-mode": "Auto", "service.kubernetes.io/topology-aware-hints": "Disabled"}, "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: …"),
    ("balanced", "spec/loadBalancerSourceRanges", ["10.0.0.0"], 'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ("balanced", "spec/loadBalancerClass", "a b", 'spec.loadBalancerClass: Invalid value: "a b": name part must consist of…'),
    ("balanced", "spec/externalTrafficPolicy", "Near", 'spec.externalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"'),
    ("balanced", "spec/clusterIP", "None", "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"),
    ("balanced", "spec/ports", [{"port": 80, "nodePort": 30000, "name": "a"}, {"port": 81, "nodePort": 30000, "name": "b"}], "spec.ports[1].nodePort: Duplicate value: 30000"),
    ("external", "spec/externalName", "", "spec.externalName: Required value"),
    ("external", "spec/externalName", "a_b", f'spec.externalName: Invalid value: "a_b": {SUBDOMAIN}'),
    ("external", "spec/clusterIP", "10.0.0.1", "spec.clusterIPs: Forbidden: may not be set for ExternalName services"),
    ("external", "spec/ipFamilies", ["IPv4"], "spec.ipFamilies: Forbidden: may not be set for ExternalName services"),
    ("external", "spec/ipFamilyPolicy", "SingleStack", "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"),
    # endpoints
    ("endpoints", "subsets/0", {"ports": [{"port": 80}]}, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
    ("endpoints", "subsets/0/addresses/0/ip", "x", 'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ("endpoints", "subsets/0/addresses/0/ip", "127.0.0.1", 'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
    ("endpoints", "subsets/0/addresses/0/hostname", "a.b", 'subsets[0].addresses[0].hostname: Invalid value: "a.b": must not contain dots'),
    ("endpoints", "subsets/0/addresses/0/nodeName", "A_", f'subsets[0].addresses[0].nodeName: Invalid value: "A_": {SUBDOMAIN}'),
    ("endpoints", "subsets/0/ports", [{"port": 80}, {"port": 81}], "subsets[0].ports[0].name: Required value"),
    ("endpoints", "subsets/0/ports/0/port", 0, f"subsets[0].ports[0].port: Invalid value: 0: {RANGE}"),
    ("endpoints", "subsets/0/ports/0/protocol", "X", 'subsets[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'),
    ("endpoints", "subsets/0/ports/0/name", "A", f'subsets[0].ports[0].name: Invalid value: "A": {LABEL}'),
    ("endpoints", "subsets/0/ports/0/appProtocol", "a b", 'subsets[0].ports[0].appProtocol: Invalid value: "a b": name part must…'),
    # endpoint slices
    ("slice", "addressType", ..., "addressType: Required value"),
    ("slice", "addressType", "IPv5", 'addressType: Unsupported value: "IPv5": supported values: "FQDN", "IPv4", "IPv6"'),
    ("slice", *endpoint(addresses=[]), "endpoints[0].addresses: Required value: must contain at least 1 address"),
    ("slice", *endpoint(addresses=[f"10.0.1.{i}" for i in range(101)]), "endpoints[0].addresses: Too many: 101: must have at most 100 items"),
    ("slice", *endpoint(addresses=["x"]), 'endpoints[0].addresses[0]: Invalid value: "x": must be a valid IPv4 address'),
    ("slice", *endpoint(addresses=["fd00::1"]), 'endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address'),
    ("slice", *endpoint(addresses=["127.0.0.1"]), 'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
    ("slice", {"addressType": "IPv6"}, None, 'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be a valid IPv6 address'),
    ("slice", {"addressType": "FQDN", "endpoints/0/addresses/0": "A_"}, None, f'endpoints[0].addresses[0]: Invalid value: "A_": {SUBDOMAIN}'),
    ("slice", *endpoint(hostname="A"), f'endpoints[0].hostname: Invalid value: "A": {LABEL}'),
    ("slice", *endpoint(nodeName="A_"), f'endpoints[0].nodeName: Invalid value: "A_": {SUBDOMAIN}'),
    ("slice", *endpoint(deprecatedTopology={"a b": "c"}), 'endpoints[0].deprecatedTopology: Invalid value: "a b": name part must…'),
    ("slice", *endpoint(hints={"forZones": [{"name": "a"}] * 9}), "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"),
    ("slice", *endpoint(hints={"forZones": [{"name": "a"}, {"name": "a"}]}), 'endpoints[0].hints.forZones[1].name: Duplicate value: "a"'),
    ("slice", *endpoint(hints={"forZones": [{"name": "a b"}]}), 'endpoints[0].hints.forZones[0].name: Invalid value: "a b": a valid label must be…'),
    ("slice", *endpoint(hints={"forNodes": [{"name": "a"}, {"name": "a"}]}), 'endpoints[0].hints.forNodes[1].name: Duplicate value: "a"'),
    ("slice", "endpoints", [{"addresses": ["10.0.0.1"]}] * 1001, "endpoints: Too many: 1001: must have at most 1000 items"),
    ("slice", "ports", [{"name": f"p{i}", "port": 80, "protocol": "TCP"} for i in range(20001)], "ports: Too many: 20001: must have at most 20000 items"),
    ("slice", "ports", [{"name": "a", "port": 80, "protocol": "TCP"}] * 2, 'ports[1].name: Duplicate value: "a"'),
    ("slice", "ports/0/name", "A", f'ports[0].name: Invalid value: "A": {LABEL}'),
    ("slice", "ports/0/port", 0, f"ports[0].port: Invalid value: 0: {RANGE}"),
    ("slice", "ports/0/protocol", "X", 'ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'),
    ("slice", "ports/0/appProtocol", "a b", 'ports[0].appProtocol: Invalid value: "a b": name part must…'),
    # ingresses
    ("ingress", "spec", {}, "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
    ("ingress", "spec/rules/0/host", "10.0.0.1", 'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'),
    ("ingress", "spec/rules/0/host", "A", f'spec.rules[0].host: Invalid value: "A": {SUBDOMAIN}'),
    ("ingress", "spec/rules/0/host", "*.*.com", 'spec.rules[0].host: Invalid value: "*.*.com": a wildcard DNS-1123 subdomain must start with…'),
    ("ingress", "spec/rules/0/http/paths", [], "spec.rules[0].http.paths: Required value"),
    ("ingress", *path(path="a"), f'{RULE}.path: Invalid value: "a": must be an absolute path'),
    ("ingress", *path(path="/a//b"), f"{RULE}.path: Invalid value: \"/a//b\": must not contain '//'"),
    ("ingress", *path(path="/a/./b"), f"{RULE}.path: Invalid value: \"/a/./b\": must not contain '/./'"),
    ("ingress", *path(path="/a/../b"), f"{RULE}.path: Invalid value: \"/a/../b\": must not contain '/../'"),
    ("ingress", *path(path="/a%2fb"), f"{RULE}.path: Invalid value: \"/a%2fb\": must not contain '%2f'"),
    ("ingress", *path(path="/a%2Fb"), f"{RULE}.path: Invalid value: \"/a%2Fb\": must not contain '%2F'"),
    ("ingress", *path(path="/a/.."), f"{RULE}.path: Invalid value: \"/a/..\": cannot end with '/..'"),
    ("ingress", *path(path="/a/."), f"{RULE}.path: Invalid value: \"/a/.\": cannot end with '/.'"),
    ("ingress", *path(pathType="Regex"), f'{RULE}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"'),
    ("ingress", *path(backend={}), f'{RULE}.backend: Invalid value: "": resource or service backend is required'),
    ("ingress", *path(backend={"service": {"name": "A", "port": {"number": 80}}}), f'{RULE}.backend.service.name: Invalid value: "A": a lowercase RFC 1123 label must…'),
    ("ingress", *path(backend={"service": {"name": "", "port": {"number": 80}}}), f"{RULE}.backend.service.name: Required value"),
    ("ingress", *path(backend={"service": {"name": "s"}}), f"{RULE}.backend: Required value: port name or number is required"),
    ("ingress", *path(backend={"service": {"name": "s", "port": {"number": 80, "name": "a"}}}), f"{RULE}.backend: Invalid value: …: cannot set both port name & port number"),
    ("ingress", *path(backend={"service": {"name": "s", "port": {"number": 70000}}}), f"{RULE}.backend.service.port.number: Invalid value: 70000: {RANGE}"),
    ("ingress", *path(backend={"service": {"name": "s", "port": {"name": "A_"}}}), f'{RULE}.backend.service.port.name: Invalid value: "A_": must contain only alpha-numeric…'),
    ("ingress", *path(backend={**BACKEND, "resource": {"kind": "K", "name": "n"}}), f'{RULE}.backend: Invalid value: "": cannot set both resource and service backends'),
    ("ingress", *path(backend={"resource": {"kind": "", "name": "n"}}), f"{RULE}.backend.resource.kind: Required value: kind is required"),
    ("ingress", *path(backend={"resource": {"kind": "K", "name": ""}}), f"{RULE}.backend.resource.name: Required value: name is required"),
    ("ingress", *path(backend={"resource": {"apiGroup": "a b", "kind": "K", "name": "n"}}), f'{RULE}.backend.resource.apiGroup: Invalid value: "a b": {SUBDOMAIN}'),
    ("ingress", "spec/tls", [{"hosts": ["A"]}], f'spec.tls[0].hosts[0]: Invalid value: "A": {SUBDOMAIN}'),
    ("ingress", "spec/tls", [{"hosts": ["*.*"]}], 'spec.tls[0].hosts[0]: Invalid value: "*.*": a wildcard DNS-1123 subdomain must…'),
    ("ingress", "spec/tls", [{"secretName": "A_"}], f'spec.tls[0].secretName: Invalid value: "A_": {SUBDOMAIN}'),
    ("ingress", "spec/ingressClassName", "A_", f'spec.ingressClassName: Invalid value: "A_": {SUBDOMAIN}'),
    ("ingress", {"metadata/annotations": {"kubernetes.io/ingress.class": "a"}, "spec/ingressClassName": "b"}, None, 'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified'),
    ("class", "spec/controller", "abc", 'spec.controller: Invalid value: "abc": must be a domain-prefixed path (such as "acme.io/foo")'),
    ("class", "spec/controller", "", "spec.controller: Required value"),
    ("class", "spec/controller", "a.b/" + "c" * 250, "spec.controller: Too long: may not be more than 250 bytes"),
    ("class", "spec/parameters/kind", "", "spec.parameters.kind: Required value: kind is required"),
    ("class", "spec/parameters/scope", "Galaxy", 'spec.parameters.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespace"'),
    ("class", "spec/parameters/namespace", "n", "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"),
    ("class", "spec/parameters/scope", "Namespace", "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
    ("class", {"spec/parameters/scope": "Namespace", "spec/parameters/namespace": "A"}, None, f'spec.parameters.namespace: Invalid value: "A": {LABEL}'),
    # network policies
    ("policy", "spec/podSelector", {"matchLabels": {"a": "b c"}}, 'spec.podSelector.matchLabels: Invalid value: "b c": a valid label must be…'),
    ("policy", *peer(), f"{PEER}: Required value: must specify a peer"),
    ("policy", *peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}), f"{PEER}: Forbidden: may not specify both ipBlock and another peer"),
    ("policy", *peer(ipBlock={"cidr": ""}), f"{PEER}.ipBlock.cidr: Required value"),
    ("policy", *peer(ipBlock={"cidr": "10.0.0"}), f'{PEER}.ipBlock.cidr: Invalid value: "10.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ("policy", *peer(ipBlock={"cidr": "10.0.0.0/16", "except": ["11.0.0.0/24"]}), f'{PEER}.ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a strict subset of `cidr`'),
    ("policy", *peer(ipBlock={"cidr": "10.0.0.0/16", "except": ["10.0.0.0/16"]}), f'{PEER}.ipBlock.except[0]: Invalid value: "10.0.0.0/16": must be a strict subset of `cidr`'),
    ("policy", *peer(ipBlock={"cidr": "10.0.0.0/16", "except": ["x"]}), f'{PEER}.ipBlock.except[0]: Invalid value: "x": must be a valid CIDR value…'),
    ("policy", *peer(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "X"}]}), f'{PEER}.namespaceSelector.matchExpressions[0].operator: Invalid value: "X": not a valid selector operator'),
    ("policy", *policy_port(port=0), f"spec.ingress[0].ports[0].port: Invalid value: 0: {RANGE}"),
    ("policy", *policy_port(port="A_"), 'spec.ingress[0].ports[0].port: Invalid value: "A_": must contain only alpha-numeric…'),
    ("policy", *policy_port(protocol="X"), 'spec.ingress[0].ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'),
    ("policy", *policy_port(endPort=81), "spec.ingress[0].ports[0].endPort: Invalid value: 81: may not be specified when `port` is not specified"),
    ("policy", *policy_port(port="a", endPort=81), "spec.ingress[0].ports[0].endPort: Invalid value: 81: may not be specified when `port` is non-numeric"),
    ("policy", *policy_port(port=80, endPort=79), "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"),
    ("policy", *policy_port(port=80, endPort=70000), f"spec.ingress[0].ports[0].endPort: Invalid value: 70000: {RANGE}"),
    ("policy", "spec/policyTypes", ["Ingress", "Egress", "Ingress"], "spec.policyTypes: Invalid value: …: may not specify more than two policyTypes"),
    ("policy", "spec/policyTypes", ["Sideways"], 'spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Egress", "Ingress"'),
    # addresses and ranges
    ("address", "metadata/name", "10.0.0.256", 'metadata.name: Invalid value: "10.0.0.256": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ("address", "metadata/name", "fd00:0::1", 'metadata.name: Invalid value: "fd00:0::1": must be in canonical form ("fd00::1")'),
    ("address", "spec/parentRef", ..., "spec.parentRef: Required value"),
    ("address", "spec/parentRef/resource", "", "spec.parentRef.resource: Required value"),
    ("address", "spec/parentRef/name", "", "spec.parentRef.name: Required value"),
    ("address", "spec/parentRef/group", "a b", f'spec.parentRef.group: Invalid value: "a b": {SUBDOMAIN}'),
    ("address", "spec/parentRef/name", "a/b", "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'"),
    ("address", "spec/parentRef/namespace", "a%b", "spec.parentRef.namespace: Invalid value: \"a%b\": may not contain '%'"),
    ("address", "spec/parentRef/resource", "..", "spec.parentRef.resource: Invalid value: \"..\": may not be '..'"),
    ("range", "spec/cidrs", [], "spec.cidrs: Required value: at least one CIDR required"),
    ("range", "spec/cidrs", ["10.0.0.0/24", "10.1.0.0/24"], "spec.cidrs: Invalid value: …: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"),
    ("range", "spec/cidrs", ["10.0.0.0/24", "fd00::/112", "fd01::/112"], "spec.cidrs: Invalid value: …: may only hold up to 2 values"),
    ("address", "metadata/name", "10.0.0.01", 'metadata.name: Invalid value: "10.0.0.01": must not have leading 0s'),
    ("address", "metadata/name", "::ffff:10.0.0.1", 'metadata.name: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address'),
    ("range", "spec/cidrs", ["10.0.0.1/24"], 'spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length'),
    ("range", "spec/cidrs", ["010.0.0.0/24"], 'spec.cidrs[0]: Invalid value: "010.0.0.0/24": must not have leading 0s in IP or prefix length'),
    ("range", "spec/cidrs", ["x"], 'spec.cidrs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ("range", "spec/cidrs", ["fd00:0::/112"], 'spec.cidrs[0]: Invalid value: "fd00:0::/112": must be in canonical form ("fd00::/112")'),
]

GOOD = [
    ("service", "spec/clusterIP", "None"),
    ("service", "spec/ports", [{"port": 53, "name": "a", "protocol": "UDP"}, {"port": 53, "name": "b"}]),
    ("service", "spec/trafficDistribution", "PreferSameNode"),
    ("balanced", "spec/loadBalancerSourceRanges", [" 10.0.0.0/8 "]),
    ("external", "spec/externalName", "example.com."),
    ("slice", {"addressType": "FQDN", "endpoints/0/addresses/0": "a.example.com"}, None),
    ("slice", "ports/0/port", ...),
    ("ingress", "spec/rules/0/host", "*.example.com"),
    ("ingress", *path(pathType="ImplementationSpecific", path="")),
    ("policy", "spec", {"podSelector": {}}),
    ("policy", *policy_port(port=80, endPort=80)),
    ("address", "metadata/name", "fd00::1"),
    ("range", "spec/cidrs", ["fd00::/112", "10.0.0.0/24"]),
]

IMMUTABLE = "field is immutable"
UPDATES = [
    ("service", 'spec/clusterIPs=["10.0.0.1"] then spec/clusterIPs', ["10.0.0.2"], f"spec.clusterIPs[0]: Invalid value: …: {'may not change once set'}"),
    ("balanced", "spec/loadBalancerClass", "a.b/c", 'spec.loadBalancerClass: Invalid value: "a.b/c": may not change once set'),
    ("balanced", "status/loadBalancer", {"ingress": [{"ip": "x"}]}, 'status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address…'),
    ("balanced", "status/loadBalancer", {"ingress": [{"hostname": "10.0.0.1"}]}, 'status.loadBalancer.ingress[0].hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'),
    ("balanced", "status/loadBalancer", {"ingress": [{"ip": "10.0.0.1", "ipMode": "X"}]}, 'status.loadBalancer.ingress[0].ipMode: Unsupported value: "X": supported values: "Proxy", "VIP"'),
    ("balanced", "status/loadBalancer", {"ingress": [{"hostname": "a", "ipMode": "VIP"}]}, "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
    ("slice", "addressType", "FQDN", f'addressType: Invalid value: "FQDN": {IMMUTABLE}'),
    ("ingress", "status/loadBalancer", {"ingress": [{"ip": "x"}]}, 'status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address…'),
    ("ingress", "status/loadBalancer", {"ingress": [{"hostname": "A"}]}, f'status.loadBalancer.ingress[0].hostname: Invalid value: "A": {SUBDOMAIN}'),
    ("class", "spec/controller", "a.b/d", f'spec.controller: Invalid value: "a.b/d": {IMMUTABLE}'),
    ("address", "spec/parentRef/name", "t", f"spec.parentRef: Invalid value: …: {IMMUTABLE}"),
    ("range", "spec/cidrs", ["10.0.0.0/24"], f"spec.cidrs: Invalid value: …: {IMMUTABLE}"),
    ("range", "spec/cidrs", ["10.0.1.0/24", "fd00::/112"], "spec.cidrs: Invalid value: …: field is immutable"),
]
