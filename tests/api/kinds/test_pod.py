"""Pods: what is filled in, what is refused and in which words, what may change later."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

from shirube.api.kinds.pod_qos import qos_class
from shirube.api.kinds.volume_defaults import image_pull_policy

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "hello:v1"}]},
}
C = "spec/containers/0"
FIELD = "spec.containers[0]"
LABEL = "a lowercase RFC 1123 label must consist of"


@pytest.fixture
def pods(rules):
    return rules("", "v1", "pods")


def test_defaults_of_a_small_pod(pods):
    pod = pods.stored(POD)
    assert pod["spec"] == {
        "containers": [
            {
                "name": "web",
                "image": "hello:v1",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["metadata"]["generation"] == 1


def test_defaults_of_the_parts_of_a_pod(pods, altered):
    pod = altered(POD, f"{C}/livenessProbe", {"httpGet": {"port": 80}})
    pod = altered(pod, f"{C}/readinessProbe", {"grpc": {"port": 90}})
    pod = altered(pod, f"{C}/ports", [{"containerPort": 80}])
    pod = altered(pod, f"{C}/env", [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}])
    pod = altered(pod, f"{C}/resources", {"limits": {"cpu": "0.5", "memory": "1024Ki"}})
    pod = altered(pod, f"{C}/lifecycle", {"preStop": {"httpGet": {"port": 80}}})
    pod = altered(
        pod,
        "spec/volumes",
        [
            {"name": "a"},
            {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "hostPath": {"path": "/x"}},
            {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {"name": "e", "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ],
    )
    pod = altered(pod, "spec/hostNetwork", True)
    pod = altered(pod, "spec/serviceAccountName", "robot")
    spec = pods.stored(pod)["spec"]
    container = spec["containers"][0]
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["readinessProbe"]["grpc"] == {"port": 90, "service": ""}
    assert container["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert container["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Mi"},
        "requests": {"cpu": "500m", "memory": "1Mi"},
    }
    assert container["lifecycle"]["preStop"]["httpGet"]["scheme"] == "HTTP"
    assert spec["volumes"][0] == {"name": "a", "emptyDir": {}}
    assert spec["volumes"][1]["secret"]["defaultMode"] == 420
    assert spec["volumes"][2]["hostPath"] == {"path": "/x", "type": ""}
    assert spec["volumes"][3]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert spec["volumes"][4]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"] == "v1"
    assert spec["serviceAccount"] == "robot"


def test_pod_level_requests_follow_containers_or_limits(pods, altered):
    pod = altered(POD, "spec/resources", {"limits": {"cpu": "2", "memory": "1Gi"}})
    pod = altered(pod, f"{C}/resources", {"requests": {"cpu": "250m"}})
    assert pods.stored(pod)["spec"]["resources"]["requests"] == {"cpu": "250m", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/a/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
        ("nginx:latest@sha256:abc", "Always"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image, policy):
    assert image_pull_policy(image) == policy


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Burstable"),
    ],
)
def test_quality_of_service(resources, expected):
    assert qos_class({"containers": [{"resources": r} for r in resources]}) == expected


def with_volume(volume: dict) -> tuple[str, object]:
    return "spec/volumes", [{"name": "v", **volume}]


def with_env(source: dict) -> tuple[str, object]:
    return f"{C}/env", [{"name": "A", "valueFrom": source}]


V = "spec.volumes[0]"
BAD = [
    # names and images
    ("spec/containers", [], "spec.containers", "Required value"),
    (f"{C}/name", ..., f"{FIELD}.name", "Required value"),
    (f"{C}/name", "Web", f"{FIELD}.name", LABEL),
    (f"{C}/name", "a" * 64, f"{FIELD}.name", "must be no more than 63 bytes"),
    (f"{C}/image", ..., f"{FIELD}.image", "Required value"),
    (f"{C}/image", " a ", f"{FIELD}.image", "must not have leading or trailing whitespace"),
    (f"{C}/imagePullPolicy", "Now", f"{FIELD}.imagePullPolicy", 'Unsupported value: "Now": supported values: "Always"'),
    (f"{C}/terminationMessagePolicy", "x", f"{FIELD}.terminationMessagePolicy", "Unsupported value"),
    ("spec/containers/1", {"name": "web", "image": "b"}, "spec.containers[1].name", 'Duplicate value: "web"'),
    # ports
    (f"{C}/ports", [{}], f"{FIELD}.ports[0].containerPort", "Required value"),
    (f"{C}/ports", [{"containerPort": 65536}], f"{FIELD}.ports[0].containerPort", "must be between 1 and 65535"),
    (f"{C}/ports", [{"containerPort": 1, "hostPort": -1}], f"{FIELD}.ports[0].hostPort", "must be between"),
    (f"{C}/ports", [{"containerPort": 1, "protocol": "X"}], f"{FIELD}.ports[0].protocol", '"SCTP", "TCP", "UDP"'),
    (f"{C}/ports", [{"containerPort": 1, "name": "A_"}], f"{FIELD}.ports[0].name", "must contain only alpha-numeric"),
    (
        f"{C}/ports",
        [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}],
        f"{FIELD}.ports[1].name",
        'Duplicate value: "a"',
    ),
    (
        f"{C}/ports",
        [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}],
        f"{FIELD}.ports[1].hostPort",
        'Duplicate value: "TCP//9"',
    ),
    # environment
    (f"{C}/env", [{"value": "x"}], f"{FIELD}.env[0].name", "Required value"),
    (f"{C}/env", [{"name": "a=b"}], f"{FIELD}.env[0].name", "printable ASCII characters other than '='"),
    (*with_env({}), f"{FIELD}.env[0].valueFrom", "must specify one of: `fieldRef`, `resourceFieldRef`"),
    (
        f"{C}/env",
        [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        f"{FIELD}.env[0].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    (
        *with_env({"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s", "key": "k"}}),
        f"{FIELD}.env[0].valueFrom",
        "may not have more than one field specified at a time",
    ),
    (
        *with_env({"secretKeyRef": {"key": "k"}}),
        f"{FIELD}.env[0].valueFrom.secretKeyRef.name",
        "a lowercase RFC 1123 subdomain",
    ),
    (
        *with_env({"configMapKeyRef": {"name": "c", "key": "a/b"}}),
        f"{FIELD}.env[0].valueFrom.configMapKeyRef.key",
        "a valid config key",
    ),
    (
        *with_env({"fieldRef": {"fieldPath": "status.nonsense"}}),
        f"{FIELD}.env[0].valueFrom.fieldRef.fieldPath",
        "error converting fieldPath: field label not supported: status.nonsense",
    ),
    (
        *with_env({"fieldRef": {"fieldPath": "status.phase"}}),
        f"{FIELD}.env[0].valueFrom.fieldRef.fieldPath",
        'Unsupported value: "status.phase": supported values: "metadata.name"',
    ),
    (
        *with_env({"fieldRef": {"fieldPath": "metadata.labels['a b']"}}),
        f"{FIELD}.env[0].valueFrom.fieldRef",
        "name part must consist of",
    ),
    (
        *with_env({"resourceFieldRef": {"resource": "limits.gold"}}),
        f"{FIELD}.env[0].valueFrom.resourceFieldRef.resource",
        'Unsupported value: "limits.gold"',
    ),
    (
        *with_env({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3"}}),
        f"{FIELD}.env[0].valueFrom.resourceFieldRef.divisor",
        "only divisor's values 1m and 1 are supported with the cpu resource",
    ),
    (f"{C}/envFrom", [{}], f"{FIELD}.envFrom", "must specify one of: `configMapRef` or `secretRef`"),
    (f"{C}/envFrom", [{"secretRef": {}}], f"{FIELD}.envFrom[0].secretRef.name", "Required value"),
    # mounts
    (f"{C}/volumeMounts", [{"name": "v", "mountPath": "/v"}], f"{FIELD}.volumeMounts[0].name", 'Not found: "v"'),
    (f"{C}/volumeMounts", [{"name": "v"}], f"{FIELD}.volumeMounts[0].mountPath", "Required value"),
    (
        f"{C}/volumeMounts",
        [{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v"}],
        f"{FIELD}.volumeMounts[1].mountPath",
        "must be unique",
    ),
    (
        f"{C}/volumeMounts",
        [{"name": "v", "mountPath": "/v", "subPath": "/abs"}],
        f"{FIELD}.volumeMounts.subPath",
        "must be a relative path",
    ),
    (
        f"{C}/volumeMounts",
        [{"name": "v", "mountPath": "/v", "subPath": "a/../.."}],
        f"{FIELD}.volumeMounts.subPath",
        "must not contain '..'",
    ),
    (
        f"{C}/volumeMounts",
        [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}],
        f"{FIELD}.volumeMounts.mountPropagation",
        "available only to privileged containers",
    ),
    (
        f"{C}/volumeMounts",
        [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}],
        f"{FIELD}.volumeMounts.recursiveReadOnly",
        "may only be specified when readOnly is true",
    ),
    # resources
    (
        f"{C}/resources",
        {"limits": {"cpu": "-1"}},
        f"{FIELD}.resources.limits[cpu]",
        "must be greater than or equal to 0",
    ),
    (f"{C}/resources", {"limits": {"cpu": "x"}}, f"{FIELD}.resources.limits[cpu]", "quantities must match"),
    (
        f"{C}/resources",
        {"limits": {"gold": "1"}},
        f"{FIELD}.resources.limits[gold]",
        "must be a standard resource for containers",
    ),
    (
        f"{C}/resources",
        {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
        f"{FIELD}.resources.requests",
        'Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        f"{C}/resources",
        {"requests": {"example.com/gpu": "1"}},
        f"{FIELD}.resources.limits",
        "Limit must be set for non overcommitable resources",
    ),
    (
        f"{C}/resources",
        {"limits": {"example.com/gpu": "500m"}},
        f"{FIELD}.resources.limits[example.com/gpu]",
        "must be an integer",
    ),
    (
        f"{C}/resources",
        {"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"hugepages-2Mi": "2Mi"}},
        f"{FIELD}.resources",
        "HugePages require cpu or memory",
    ),
    (f"{C}/resources", {"claims": [{"name": "gpu"}]}, f"{FIELD}.resources.claims[0]", 'Not found: "gpu"'),
    # probes and hooks
    (f"{C}/livenessProbe", {}, f"{FIELD}.livenessProbe", "must specify a handler type"),
    (
        f"{C}/livenessProbe",
        {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}},
        f"{FIELD}.livenessProbe.tcpSocket",
        "may not specify more than 1 handler type",
    ),
    (f"{C}/livenessProbe", {"exec": {}}, f"{FIELD}.livenessProbe.exec.command", "Required value"),
    (f"{C}/livenessProbe", {"httpGet": {"port": 0}}, f"{FIELD}.livenessProbe.httpGet.port", "must be between 1"),
    (f"{C}/livenessProbe", {"httpGet": {"port": "a_"}}, f"{FIELD}.livenessProbe.httpGet.port", "alpha-numeric"),
    (
        f"{C}/livenessProbe",
        {"httpGet": {"port": 1, "scheme": "FTP"}},
        f"{FIELD}.livenessProbe.httpGet.scheme",
        'supported values: "HTTP", "HTTPS"',
    ),
    (
        f"{C}/livenessProbe",
        {"tcpSocket": {"port": 1}, "successThreshold": 2},
        f"{FIELD}.livenessProbe.successThreshold",
        "must be 1",
    ),
    (
        f"{C}/readinessProbe",
        {"tcpSocket": {"port": 1}, "periodSeconds": -1},
        f"{FIELD}.readinessProbe.periodSeconds",
        "must be greater than or equal to 0",
    ),
    (
        f"{C}/readinessProbe",
        {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 5},
        f"{FIELD}.readinessProbe.terminationGracePeriodSeconds",
        "must not be set for readinessProbes",
    ),
    (
        f"{C}/lifecycle",
        {"preStop": {"sleep": {"seconds": 31}}},
        f"{FIELD}.lifecycle.preStop.sleep",
        "must be non-negative and less than terminationGracePeriodSeconds (30)",
    ),
    # security
    (f"{C}/securityContext", {"runAsUser": -1}, f"{FIELD}.securityContext.runAsUser", "must be between 0"),
    (
        f"{C}/securityContext",
        {"privileged": True, "allowPrivilegeEscalation": False},
        f"{FIELD}.securityContext",
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (
        f"{C}/securityContext",
        {"seccompProfile": {"type": "Localhost"}},
        f"{FIELD}.securityContext.seccompProfile.localhostProfile",
        "must be set when seccomp type is Localhost",
    ),
    (
        f"{C}/securityContext",
        {"seccompProfile": {"type": "X"}},
        f"{FIELD}.securityContext.seccompProfile.type",
        "Unsupported value",
    ),
    (
        f"{C}/securityContext",
        {"procMount": "Unmasked"},
        f"{FIELD}.securityContext.procMount",
        "`hostUsers` must be false to use `Unmasked`",
    ),
    ("spec/securityContext", {"fsGroup": -1}, "spec.securityContext.fsGroup", "must be between 0"),
    (
        "spec/securityContext",
        {"fsGroupChangePolicy": "x"},
        "spec.securityContext.fsGroupChangePolicy",
        "Unsupported value",
    ),
    (
        "spec/securityContext",
        {"sysctls": [{"name": "A!"}]},
        "spec.securityContext.sysctls[0].name",
        "must have at most 253 characters and match regex",
    ),
    # restart
    ("spec/restartPolicy", "Sometimes", "spec.restartPolicy", 'supported values: "Always", "OnFailure", "Never"'),
    (f"{C}/restartPolicy", "Sometimes", f"{FIELD}.restartPolicy", "Unsupported value"),
    (
        f"{C}/restartPolicyRules",
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
        f"{FIELD}.restartPolicy",
        "must specify restartPolicy when restart rules are used",
    ),
    # names elsewhere
    ("spec/nodeName", "Node_1", "spec.nodeName", "a lowercase RFC 1123 subdomain"),
    ("spec/hostname", "a.b", "spec.hostname", "must not contain dots"),
    ("spec/subdomain", "A", "spec.subdomain", LABEL),
    ("spec/serviceAccountName", "A", "spec.serviceAccountName", "a lowercase RFC 1123 subdomain"),
    ("spec/priorityClassName", "A", "spec.priorityClassName", "a lowercase RFC 1123 subdomain"),
    ("spec/runtimeClassName", "A", "spec.runtimeClassName", "a lowercase RFC 1123 subdomain"),
    ("spec/activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", "must be between 1 and 2147483647, inclusive"),
    ("spec/hostAliases", [{"ip": "x"}], "spec.hostAliases[0].ip", "must be a valid IP address"),
    ("spec/nodeSelector", {"a b": "c"}, "spec.nodeSelector", "name part must consist of"),
    ("spec/readinessGates", [{"conditionType": "a b"}], "spec.readinessGates[0].conditionType", "name part"),
    ("spec/preemptionPolicy", "x", "spec.preemptionPolicy", "Unsupported value"),
    ("spec/os", {"name": "plan9"}, "spec.os", 'Unsupported value: "plan9"'),
    ("spec/ephemeralContainers", [{"name": "d", "image": "d"}], "spec.ephemeralContainers", "cannot be set on create"),
    # DNS
    (
        "spec/dnsPolicy",
        "x",
        "spec.dnsPolicy",
        'Unsupported value: "x": supported values: "ClusterFirstWithHostNet", "ClusterFirst"',
    ),
    ("spec/dnsPolicy", "None", "spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
    (
        "spec/dnsConfig",
        {"nameservers": ["1.1.1.1"] * 4},
        "spec.dnsConfig.nameservers",
        "must not have more than 3 nameservers",
    ),
    ("spec/dnsConfig", {"nameservers": ["x"]}, "spec.dnsConfig.nameservers[0]", "must be a valid IP address"),
    ("spec/dnsConfig", {"searches": ["a b"]}, "spec.dnsConfig.searches[0]", "a lowercase RFC 1123 subdomain"),
    # placement
    (
        "spec/tolerations",
        [{"effect": "NoSchedule"}],
        "spec.tolerations[0].operator",
        "operator must be Exists when `key` is empty",
    ),
    (
        "spec/tolerations",
        [{"key": "a", "operator": "Exists", "value": "b"}],
        "spec.tolerations[0].operator",
        "value must be empty when `operator` is 'Exists'",
    ),
    (
        "spec/tolerations",
        [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}],
        "spec.tolerations[0].effect",
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    ("spec/tolerations", [{"key": "a", "operator": "Like"}], "spec.tolerations[0].operator", "Unsupported value"),
    (
        "spec/affinity",
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        "must have at least one node selector term",
    ),
    (
        "spec/affinity",
        {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}},
        "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        "can not be empty",
    ),
    (
        "spec/affinity",
        {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0}]}},
        "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        "must be in the range 1-100",
    ),
    (
        "spec/topologySpreadConstraints",
        [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        "spec.topologySpreadConstraints[0].maxSkew",
        "must be greater than zero",
    ),
    (
        "spec/topologySpreadConstraints",
        [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "x"}],
        "spec.topologySpreadConstraints[0].whenUnsatisfiable",
        "Unsupported value",
    ),
    ("spec/schedulingGates", [{"name": "a"}, {"name": "a"}], "spec.schedulingGates[1]", 'Duplicate value: "a"'),
    # init containers
    ("spec/initContainers", [{"name": "web", "image": "x"}], "spec.initContainers[0].name", 'Duplicate value: "web"'),
    (
        "spec/initContainers",
        [{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 1}}}],
        "spec.initContainers[0].readinessProbe",
        "may not be set for init containers without restartPolicy=Always",
    ),
    # volumes
    ("spec/volumes", [{"emptyDir": {}}], "spec.volumes[0].name", "Required value"),
    ("spec/volumes", [{"name": "V"}], "spec.volumes[0].name", LABEL),
    ("spec/volumes", [{"name": "v"}, {"name": "v"}], "spec.volumes[1].name", 'Duplicate value: "v"'),
    (
        *with_volume({"emptyDir": {}, "hostPath": {"path": "/x"}}),
        f"{V}.hostPath",
        "may not specify more than 1 volume type",
    ),
    (*with_volume({"hostPath": {"path": "/a/../b"}}), f"{V}.hostPath.path", "must not contain '..'"),
    (*with_volume({"hostPath": {"path": "/a", "type": "x"}}), f"{V}.hostPath.type", "Unsupported value"),
    (*with_volume({"secret": {}}), f"{V}.secret.secretName", "Required value"),
    (
        *with_volume({"secret": {"secretName": "s", "defaultMode": 0o1000}}),
        f"{V}.secret.defaultMode",
        "must be a number between 0 and 0777 (octal), both inclusive",
    ),
    (
        *with_volume({"configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}),
        f"{V}.configMap.items[0].path",
        "must not contain '..'",
    ),
    (
        *with_volume({"configMap": {"name": "c", "items": [{"key": "k", "path": "..x"}]}}),
        f"{V}.configMap.items[0].path",
        "must not start with '..'",
    ),
    (*with_volume({"persistentVolumeClaim": {}}), f"{V}.persistentVolumeClaim.claimName", "Required value"),
    (*with_volume({"nfs": {"server": "s", "path": "x"}}), f"{V}.nfs.path", "must be an absolute path"),
    (*with_volume({"csi": {}}), f"{V}.csi.driver", "Required value"),
    (*with_volume({"image": {"pullPolicy": "Always"}}), f"{V}.image.reference", "Required value"),
    (
        *with_volume({"downwardAPI": {"items": [{"path": "x"}]}}),
        f"{V}.downwardAPI",
        "one of fieldRef and resourceFieldRef is required",
    ),
    (
        *with_volume({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}}),
        f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds",
        "may not specify a duration less than 10 minutes",
    ),
    (
        *with_volume(
            {
                "projected": {
                    "sources": [
                        {"secret": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
                        {"secret": {"name": "b", "items": [{"key": "k", "path": "p"}]}},
                    ]
                }
            }
        ),
        f"{V}.projected",
        "conflicting duplicate paths",
    ),
    (
        *with_volume({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
        f"{V}.ephemeral.volumeClaimTemplate.spec.accessModes",
        "at least 1 access mode is required",
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_what_is_refused(pods, altered, assert_cause, path, value, field, message):
    assert_cause(pods.create(altered(POD, path, value))[1], field, message)


GOOD = [
    (f"{C}/ports", [{"containerPort": 80, "name": "http"}, {"containerPort": 80, "protocol": "UDP"}]),
    (f"{C}/env", [{"name": "A.b-c", "value": "x"}, {"name": "1", "value": ""}]),
    (*with_env({"fieldRef": {"fieldPath": "metadata.annotations['example.com/Key']"}}),),
    (*with_env({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}),),
    (f"{C}/resources", {"limits": {"example.com/gpu": "1"}}),
    (f"{C}/resources", {"limits": {"cpu": "1"}, "requests": {"cpu": "1000m"}}),
    (f"{C}/lifecycle", {"preStop": {"sleep": {"seconds": 5}}}),
    (f"{C}/securityContext", {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}}),
    ("spec/initContainers", [{"name": "s", "image": "x", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["a"]}}}]),
    ("spec/tolerations", [{"operator": "Exists"}]),
    ("spec/tolerations", [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1}]),
    ("spec/dnsConfig", {"nameservers": ["1.1.1.1"], "searches": ["a.b.", "."], "options": [{"name": "ndots"}]}),
    ("spec/hostNetwork", True),
    ("spec/activeDeadlineSeconds", 1),
    ("spec/schedulingGates", [{"name": "example.com/wait"}]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), GOOD, ids=[f"{i}-{g[0]}" for i, g in enumerate(GOOD)])
def test_what_is_accepted(pods, altered, path, value):
    assert pods.create(altered(POD, path, value))[1] == []


def test_a_gated_pod_says_why_it_waits(pods, altered):
    pod = pods.stored(altered(POD, "spec/schedulingGates", [{"name": "a"}]))
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"


def test_match_label_keys_become_part_of_the_selector(pods, altered):
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"x": "y"}},
        "matchLabelKeys": ["app"],
    }
    pod = pods.stored(altered(POD, "spec/topologySpreadConstraints", [constraint]))
    selector = pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    assert selector["matchExpressions"] == [{"key": "app", "operator": "In", "values": ["web"]}]


MUTABLE = [
    (f"{C}/image", "hello:v2"),
    ("spec/activeDeadlineSeconds", 60),
    ("spec/tolerations", [{"key": "a", "operator": "Exists"}]),
    ("metadata/labels", {"new": "label"}),
]


@pytest.mark.parametrize(("path", "value"), MUTABLE)
def test_what_may_change(pods, altered, path, value):
    old = pods.stored(POD)
    new, causes = pods.update(altered(old, path, value), old)
    assert causes == []
    assert new["metadata"]["generation"] == (1 if path.startswith("metadata") else 2)


FIXED = [
    (f"{C}/name", "other", "spec", "pod updates may not change fields other than"),
    (f"{C}/command", ["x"], "spec", "pod updates may not change fields other than"),
    (f"{C}/resources", {"limits": {"cpu": "1"}}, "spec", "pod updates may not change fields other than"),
    ("spec/nodeName", "node-1", "spec", "pod updates may not change fields other than"),
    ("spec/restartPolicy", "Never", "spec", "pod updates may not change fields other than"),
    ("spec/containers/1", {"name": "b", "image": "b"}, "spec.containers", "may not add or remove containers"),
    (f"{C}/image", "", f"{FIELD}.image", "Required value"),
    ("spec/schedulingGates", [{"name": "a"}], "spec.schedulingGates[0].name", "only deletion is allowed"),
    ("metadata/uid", "other", "metadata.uid", "field is immutable"),
    ("metadata/name", "other", "metadata.name", "field is immutable"),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), FIXED)
def test_what_may_not_change(pods, altered, assert_cause, path, value, field, message):
    old = pods.stored(POD)
    assert_cause(pods.update(altered(old, path, value), old)[1], field, message)


def test_a_deadline_only_shrinks_and_tolerations_only_grow(pods, altered, assert_cause):
    old = altered(POD, "spec/activeDeadlineSeconds", 60)
    old = pods.stored(altered(old, "spec/tolerations", [{"key": "a", "operator": "Exists"}]))
    longer = pods.update(altered(old, "spec/activeDeadlineSeconds", 61), old)[1]
    assert_cause(longer, "spec.activeDeadlineSeconds", "must be less than or equal to previous value")
    gone = pods.update(altered(old, "spec/activeDeadlineSeconds", ...), old)[1]
    assert_cause(gone, "spec.activeDeadlineSeconds", "must not update from a positive integer to nil value")
    without = pods.update(altered(old, "spec/tolerations", []), old)[1]
    assert_cause(without, "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def test_a_gated_pod_may_be_narrowed(pods, altered, assert_cause):
    gated = altered(POD, "spec/schedulingGates", [{"name": "a"}])
    old = pods.stored(altered(gated, "spec/nodeSelector", {"a": "b"}))
    assert pods.update(altered(old, "spec/nodeSelector", {"a": "b", "c": "d"}), old)[1] == []
    assert pods.update(altered(old, "spec/schedulingGates", []), old)[1] == []
    changed = pods.update(altered(old, "spec/nodeSelector", {"a": "other"}), old)[1]
    assert_cause(changed, "spec.nodeSelector", "only additions to spec.nodeSelector are allowed")


def test_status_and_spec_are_written_apart(pods, altered):
    old = pods.stored(POD)
    new, causes = pods.update(altered(old, "status/phase", "Running"), old)
    assert (new["status"]["phase"], causes) == ("Pending", [])
    told = altered(altered(old, "status", {"phase": "Running"}), f"{C}/image", "other")
    new, causes = pods.update(told, old, "status_")
    assert new["spec"] == old["spec"]
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert new["metadata"]["generation"] == 1
    assert causes == []


def test_a_container_that_ended_for_good_does_not_run_again(pods, altered, assert_cause):
    old = pods.stored(altered(POD, "spec/restartPolicy", "Never"))
    old["status"]["containerStatuses"] = [{"name": "web", "state": {"terminated": {"exitCode": 0}}}]
    running = altered(old, "status/containerStatuses", [{"name": "web", "state": {"running": {}}}])
    causes = pods.update(running, old, "status_")[1]
    assert_cause(causes, "status.containerStatuses[0].state", "may not be transitioned to non-terminated state")


def test_ephemeral_containers_are_added_through_their_subresource(pods, altered, assert_cause):
    old = pods.stored(POD)
    debug = {"name": "debug", "image": "tools:1", "targetContainerName": "web"}
    new, causes = pods.update(altered(old, "spec/ephemeralContainers", [debug]), old, "ephemeral_containers_")
    assert causes == []
    assert new["spec"]["containers"] == old["spec"]["containers"]
    removed = pods.update(old, new, "ephemeral_containers_")[1]
    assert_cause(removed, "spec.ephemeralContainers", 'existing ephemeral containers "debug" may not be removed')
    bad = {**debug, "ports": [{"containerPort": 1}], "targetContainerName": "nobody"}
    causes = pods.update(altered(old, "spec/ephemeralContainers", [bad]), old, "ephemeral_containers_")[1]
    assert_cause(causes, "spec.ephemeralContainers[0].ports", "cannot be set for an Ephemeral Container")
    assert_cause(causes, "spec.ephemeralContainers[0].targetContainerName", 'Not found: "nobody"')
    # an ordinary update keeps them
    kept, causes = pods.update(altered(new, "spec/ephemeralContainers", ...), new)
    assert kept["spec"]["ephemeralContainers"] == new["spec"]["ephemeralContainers"]
    assert causes == []


@pytest.mark.parametrize(
    ("spec", "status", "requested", "seconds"),
    [
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, {"phase": "Running"}, None, 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, {"phase": "Running"}, 5, 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, {"phase": "Running"}, 0, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": -1}, {"phase": "Running"}, None, 1),
        ({"terminationGracePeriodSeconds": 30}, {"phase": "Pending"}, None, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 30}, {"phase": "Succeeded"}, 30, 0),
    ],
)
def test_grace_period(pods, spec, status, requested, seconds):
    assert pods.strategy.grace_period({"metadata": {}, "spec": spec, "status": status}, requested) == seconds


def test_selectable_fields(pods):
    pod = {
        "metadata": {},
        "spec": {"nodeName": "n", "hostNetwork": True},
        "status": {"phase": "Running", "podIP": "1.2.3.4"},
    }
    fields = pods.strategy.selectable_fields(pod)
    assert fields["spec.nodeName"] == "n"
    assert fields["spec.hostNetwork"] == "true"
    assert fields["status.phase"] == "Running"
    assert fields["status.podIP"] == "1.2.3.4"
    assert fields["status.nominatedNodeName"] == ""


def test_warnings(pods, altered):
    pod = altered(POD, f"{C}/env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    pod = pods.stored(altered(pod, "spec/nodeSelector", {"beta.kubernetes.io/os": "linux"}))
    warnings = pods.strategy.warnings(pod)
    assert any('hides previous definition of "A"' in w for w in warnings)
    assert any('use "kubernetes.io/os" instead' in w for w in warnings)
