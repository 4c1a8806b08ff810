"""Pods and pod templates: every rule of core's ValidatePodSpec that a manifest can break."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
# fmt: off
from __future__ import annotations

C = "spec/containers/0"
F = "spec.containers[0]"
V = "spec.volumes[0]"
NEG = "must be greater than or equal to 0"
LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character…"
DOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character…"
PORT = "must be between 1 and 65535, inclusive"
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
MOUNTED = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}], "volumes": [{"name": "v"}, {"name": "w", "persistentVolumeClaim": {"claimName": "w"}}]}}
INIT = {"metadata": {"name": "p"}, "spec": {"initContainers": [{"name": "i", "image": "i:1"}], "containers": [{"name": "c", "image": "i:1"}]}}
WINDOWS = {"metadata": {"name": "p"}, "spec": {"os": {"name": "windows"}, "containers": [{"name": "c", "image": "i:1"}]}}

BASES = {"pod": (("", "v1", "pods"), POD), "mounted": (("", "v1", "pods"), MOUNTED), "init": (("", "v1", "pods"), INIT), "windows": (("", "v1", "pods"), WINDOWS)}


def volume(source, **more):
    return "spec/volumes", [{"name": "v", **source, **more}]


def probe(**more):
    return {"tcpSocket": {"port": 80}, **more}


def pod_affinity(**term):
    return "spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution", [{"topologyKey": "z", **term}]


def spread(**more):
    return "spec/topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", **more}]


AFFINE = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
SPREAD = "spec.topologySpreadConstraints[0]"
NODE_TERM = "spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms"
NODE_FIELD = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
IN = {"key": "k", "operator": "In", "values": ["a"]}

BAD = [
    # metadata
    ("pod", "metadata/name", "A_b", f'metadata.name: Invalid value: "A_b": {DOMAIN}'),
    ("pod", "metadata/generateName", "A_", f'metadata.generateName: Invalid value: "A_": {DOMAIN}'),
    ("pod", "metadata/labels", {"a": "b c"}, "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character…"),
    ("pod", "metadata/labels", {"a/b/c": ""}, 'metadata.labels: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters…'),
    ("pod", "metadata/annotations", {"": "x"}, 'metadata.annotations: Invalid value: "": name part must be non-empty'),
    ("pod", "metadata/finalizers", ["x"], 'metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified'),
    ("pod", "metadata/finalizers", ["orphan", "foregroundDeletion"], 'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set'),
    ("pod", "metadata/ownerReferences", [{"apiVersion": "v1", "kind": "Node", "name": "n"}], 'metadata.ownerReferences.uid: Invalid value: "": must not be empty'),
    ("pod", "metadata/annotations", {"controller.kubernetes.io/pod-deletion-cost": "1.5"}, 'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "1.5": must be a 32bit integer'),
    ("pod", "metadata/annotations", {"kubernetes.io/config.mirror": "x"}, 'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set'),
    ("pod", "metadata/annotations", {"seccomp.security.alpha.kubernetes.io/pod": "odd"}, 'metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "odd": must be a valid seccomp profile'),
    ("pod", "metadata/annotations", {"container.apparmor.security.beta.kubernetes.io/z": "unconfined"}, 'metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: "z": container not found'),
    ("pod", "metadata/annotations", {"container.apparmor.security.beta.kubernetes.io/c": "x"}, 'metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: "x": invalid AppArmor profile name: "x"'),
    # the spec itself
    ("pod", "spec/restartPolicy", "Perhaps", 'spec.restartPolicy: Unsupported value: "Perhaps": supported values: "Always", "OnFailure", "Never"'),
    ("pod", "spec/dnsPolicy", "Odd", 'spec.dnsPolicy: Unsupported value: "Odd": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'),
    ("pod", "spec/dnsPolicy", "None", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    ("pod", {"spec/dnsPolicy": "None", "spec/dnsConfig": {}}, None, "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"),
    ("pod", "spec/dnsConfig", {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}, 'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]: must not have more than 3 nameservers'),
    ("pod", "spec/dnsConfig", {"nameservers": ["x"]}, f'spec.dnsConfig.nameservers[0]: Invalid value: "x": {IP}'),
    ("pod", "spec/dnsConfig", {"searches": ["a"] * 33}, "spec.dnsConfig.searches: Invalid value: […: must not have more than 32 search paths"),
    ("pod", "spec/dnsConfig", {"searches": ["A"]}, 'spec.dnsConfig.searches[0]: Invalid value: "A": a lowercase RFC 1123 subdomain…'),
    ("pod", "spec/dnsConfig", {"options": [{"value": "x"}]}, "spec.dnsConfig.options[0]: Required value: must not be empty"),
    ("pod", "spec/nodeSelector", {"a b": "c"}, 'spec.nodeSelector: Invalid value: "a b": name part must consist of…'),
    ("pod", "spec/activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    ("pod", "spec/serviceAccountName", "A", f'spec.serviceAccountName: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/nodeName", "A", f'spec.nodeName: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/hostname", "a.b", 'spec.hostname: Invalid value: "a.b": must not contain dots'),
    ("pod", "spec/subdomain", "A", f'spec.subdomain: Invalid value: "A": {LABEL}'),
    ("pod", "spec/priorityClassName", "A", f'spec.priorityClassName: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/runtimeClassName", "A", f'spec.runtimeClassName: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/preemptionPolicy", "Odd", 'spec.preemptionPolicy: Unsupported value: "Odd": supported values: "PreemptLowerPriority", "Never"'),
    ("pod", "spec/preemptionPolicy", "", "spec.preemptionPolicy: Required value"),
    ("pod", "spec/overhead", {"cpu": "-1"}, f'spec.overhead.limits[cpu]: Invalid value: "-1": {NEG}'),
    ("pod", "spec/hostAliases", [{"ip": "x"}], f'spec.hostAliases[0].ip: Invalid value: "x": {IP}'),
    ("pod", "spec/hostAliases", [{"ip": "1.2.3.4", "hostnames": ["a", "A"]}], f'spec.hostAliases[0].hostnames[1]: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/readinessGates", [{"conditionType": "a b"}], 'spec.readinessGates[0].conditionType: Invalid value: "a b": name part must consist of…'),
    ("pod", "spec/schedulingGates", [{"name": "a b"}], 'spec.schedulingGates[0]: Invalid value: "a b": name part must consist of…'),
    ("pod", "spec/schedulingGates", [{"name": "a"}, {"name": "a"}], 'spec.schedulingGates[1]: Duplicate value: "a"'),
    ("pod", {"spec/schedulingGates": [{"name": "a"}], "spec/nodeName": "n"}, None, "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"),
    ("pod", "spec/ephemeralContainers", [{"name": "e", "image": "i"}], "spec.ephemeralContainers: Forbidden: cannot be set on create"),
    ("pod", {"spec/hostPID": True, "spec/shareProcessNamespace": True}, None, "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"),
    ("pod", {"spec/hostNetwork": True, f"{C}/ports": [{"containerPort": 80, "hostPort": 81}]}, None, f"{F}.ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"),
    # tolerations
    ("pod", "spec/tolerations", [{"operator": "Equal"}], 'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"'),
    ("pod", "spec/tolerations", [{"key": "a b", "operator": "Exists"}], 'spec.tolerations[0].key: Invalid value: "a b": name part must consist of…'),
    ("pod", "spec/tolerations", [{"key": "a", "operator": "Like"}], 'spec.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"'),
    ("pod", "spec/tolerations", [{"key": "a", "operator": "Exists", "value": "x"}], "spec.tolerations[0].operator: Invalid value: {…: value must be empty when `operator` is 'Exists'"),
    ("pod", "spec/tolerations", [{"key": "a", "value": "b c"}], 'spec.tolerations[0].operator: Invalid value: "b c": a valid label must be an empty string…'),
    ("pod", "spec/tolerations", [{"key": "a", "operator": "Exists", "effect": "Odd"}], 'spec.tolerations[0].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'),
    ("pod", "spec/tolerations", [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}], "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
    # affinity
    ("pod", NODE_TERM, [], f"{NODE_FIELD}: Required value: must have at least one node selector term"),
    ("pod", NODE_TERM, [{"matchExpressions": [{"key": "k", "operator": "In"}]}], f"{NODE_FIELD}[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
    ("pod", NODE_TERM, [{"matchExpressions": [{**IN, "operator": "Exists"}]}], f"{NODE_FIELD}[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
    ("pod", NODE_TERM, [{"matchExpressions": [{**IN, "operator": "Gt", "values": ["1", "2"]}]}], f"{NODE_FIELD}[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
    ("pod", NODE_TERM, [{"matchExpressions": [{**IN, "operator": "Near"}]}], f'{NODE_FIELD}[0].matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator'),
    ("pod", NODE_TERM, [{"matchFields": [{**IN, "key": "metadata.uid"}]}], f'{NODE_FIELD}[0].matchFields[0].key: Invalid value: "metadata.uid": not a valid field selector key'),
    ("pod", NODE_TERM, [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]}], f"{NODE_FIELD}[0].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"),
    ("pod", "spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution", [{"weight": 101, "preference": {}}], "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100"),
    ("pod", *pod_affinity(topologyKey=""), f"{AFFINE}.topologyKey: Required value: can not be empty"),
    ("pod", *pod_affinity(namespaces=["A"]), f'{AFFINE}.namespace: Invalid value: "A": {LABEL}'),
    ("pod", *pod_affinity(labelSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}), f"{AFFINE}.labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
    ("pod", *pod_affinity(namespaceSelector={"matchLabels": {"a b": ""}}), f'{AFFINE}.namespaceSelector.matchLabels: Invalid value: "a b": name part must consist of…'),
    ("pod", *pod_affinity(matchLabelKeys=["a"]), f"{AFFINE}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
    ("pod", *pod_affinity(labelSelector={}, matchLabelKeys=["a"], mismatchLabelKeys=["a"]), f'{AFFINE}.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys'),
    ("pod", "spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution", [{"weight": 0, "podAffinityTerm": {"topologyKey": "z"}}], "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"),
    # topology spread
    ("pod", *spread(maxSkew=0), f"{SPREAD}.maxSkew: Invalid value: 0: must be greater than zero"),
    ("pod", *spread(topologyKey=""), f"{SPREAD}.topologyKey: Required value: can not be empty"),
    ("pod", *spread(whenUnsatisfiable="Cry"), f'{SPREAD}.whenUnsatisfiable: Unsupported value: "Cry": supported values: "DoNotSchedule", "ScheduleAnyway"'),
    ("pod", *spread(minDomains=0), f"{SPREAD}.minDomains: Invalid value: 0: must be greater than zero"),
    ("pod", *spread(minDomains=1, whenUnsatisfiable="ScheduleAnyway"), f"{SPREAD}.minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"),
    ("pod", *spread(nodeAffinityPolicy="x"), f'{SPREAD}.nodeAffinityPolicy: Unsupported value: "x": supported values: "Honor", "Ignore"'),
    ("pod", *spread(nodeTaintsPolicy="x"), f'{SPREAD}.nodeTaintsPolicy: Unsupported value: "x": supported values: "Honor", "Ignore"'),
    ("pod", *spread(matchLabelKeys=["a"]), f"{SPREAD}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"),
    ("pod", "spec/topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}] * 2, SPREAD + '.{topologyKey, whenUnsatisfiable}: Duplicate value: "{z, DoNotSchedule}"'),
    # security
    ("pod", "spec/securityContext", {"runAsUser": -1}, "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive"),
    ("pod", "spec/securityContext", {"fsGroup": -1}, "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 4294967295, inclusive"),
    ("pod", "spec/securityContext", {"supplementalGroups": [1, -1]}, "spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 4294967295, inclusive"),
    ("pod", "spec/securityContext", {"fsGroupChangePolicy": "x"}, 'spec.securityContext.fsGroupChangePolicy: Unsupported value: "x": supported values: "Always", "OnRootMismatch"'),
    ("pod", "spec/securityContext", {"supplementalGroupsPolicy": "x"}, 'spec.securityContext.supplementalGroupsPolicy: Unsupported value: "x": supported values: "Merge", "Strict"'),
    ("pod", "spec/securityContext", {"seLinuxChangePolicy": "x"}, 'spec.securityContext.seLinuxChangePolicy: Unsupported value: "x": supported values: "MountOption", "Recursive"'),
    ("pod", "spec/securityContext", {"sysctls": [{"name": "", "value": "1"}]}, "spec.securityContext.sysctls[0].name: Required value"),
    ("pod", "spec/securityContext", {"sysctls": [{"name": "a*", "value": "1"}]}, 'spec.securityContext.sysctls[0].name: Invalid value: "a*": must have at most 253 characters and match regex…'),
    ("pod", "spec/securityContext", {"sysctls": [{"name": "a.b", "value": "1"}] * 2}, 'spec.securityContext.sysctls[1].name: Duplicate value: "a.b"'),
    ("pod", {"spec/hostNetwork": True, "spec/securityContext": {"sysctls": [{"name": "net.x", "value": "1"}]}}, None, "spec.securityContext.sysctls[0].name: Invalid value: \"net.x\": may not be specified when 'hostNetwork' is true"),
    ("pod", {"spec/hostIPC": True, "spec/securityContext": {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}}, None, "spec.securityContext.sysctls[0].name: Invalid value: \"kernel.shmmax\": may not be specified when 'hostIPC' is true"),
    ("pod", "spec/securityContext", {"seccompProfile": {"type": "Localhost"}}, "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"),
    ("pod", "spec/securityContext", {"seccompProfile": {"type": "Odd"}}, 'spec.securityContext.seccompProfile.type: Unsupported value: "Odd": supported values: "Localhost", "RuntimeDefault", "Unconfined"'),
    ("pod", "spec/securityContext", {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}, "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"../x\": must not contain '..'"),
    ("pod", "spec/securityContext", {"appArmorProfile": {"type": "Localhost", "localhostProfile": " x"}}, 'spec.securityContext.appArmorProfile.localhostProfile: Invalid value: " x": must not be padded with whitespace'),
    ("pod", "spec/securityContext", {"appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}}, 'spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost'),
    ("pod", f"{C}/securityContext", {"procMount": "Odd"}, f'{F}.securityContext.procMount: Unsupported value: "Odd": supported values: "Default", "Unmasked"'),
    ("pod", f"{C}/securityContext", {"procMount": "Unmasked"}, f'{F}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'),
    ("pod", f"{C}/securityContext", {"allowPrivilegeEscalation": False, "privileged": True}, F + ".securityContext: Invalid value: {…: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    ("pod", f"{C}/securityContext", {"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}, F + ".securityContext: Invalid value: {…: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"),
    # operating systems
    ("pod", "spec/os", {"name": "plan9"}, 'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"'),
    ("pod", {"spec/os": {"name": "linux"}, f"{C}/securityContext": {"windowsOptions": {}}}, None, f"{F}.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"),
    *[
        ("windows", f"spec/securityContext/{f}", v, f"spec.securityContext.{f}: Forbidden: cannot be set for a windows pod")
        for f, v in (("fsGroup", 1), ("runAsUser", 1), ("runAsGroup", 1), ("seLinuxOptions", {}), ("supplementalGroups", [1]), ("seccompProfile", {"type": "Unconfined"}), ("appArmorProfile", {"type": "Unconfined"}), ("sysctls", [{"name": "a.b", "value": "1"}]))
    ],
    *[("windows", f"spec/{f}", v, f"spec.{f}: Forbidden: cannot be set for a windows pod") for f, v in (("hostPID", True), ("hostIPC", True), ("shareProcessNamespace", False), ("hostUsers", True))],
    *[("windows", f"{C}/securityContext/{f}", v, f"{F}.securityContext.{f}: Forbidden: cannot be set for a windows pod") for f, v in (("capabilities", {}), ("readOnlyRootFilesystem", False), ("privileged", False), ("allowPrivilegeEscalation", True), ("procMount", "Default"), ("runAsUser", 1))],
    *[
        ("windows", "spec/securityContext/windowsOptions/runAsUserName", v, f"spec.securityContext.windowsOptions.runAsUserName: Invalid value: …: {m}")
        for v, m in (
            ("", "runAsUserName cannot be an empty string"),
            ("a\tb", "runAsUserName cannot contain control characters"),
            ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            ("..\\b", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
            ("d\\", "runAsUserName's User cannot be empty"),
            ("u" * 105, "runAsUserName's User length must not be longer than 104 characters"),
            ("...", "runAsUserName's User cannot contain only periods or spaces"),
            ("a@b", "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
        )
    ],
    ("windows", "spec/securityContext/windowsOptions", {"hostProcess": True}, "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"),
    ("windows", "spec/securityContext/windowsOptions", {"gmsaCredentialSpec": ""}, 'spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string'),
    # containers
    ("pod", "spec/containers", [], "spec.containers: Required value"),
    ("pod", f"{C}/name", "", f"{F}.name: Required value"),
    ("pod", f"{C}/name", "A", f'{F}.name: Invalid value: "A": {LABEL}'),
    ("pod", "spec/containers/1", {"name": "c", "image": "i:1"}, 'spec.containers[1].name: Duplicate value: "c"'),
    ("pod", f"{C}/image", "", f"{F}.image: Required value"),
    ("pod", f"{C}/image", "i ", f'{F}.image: Invalid value: "i ": must not have leading or trailing whitespace'),
    ("pod", f"{C}/imagePullPolicy", "Odd", f'{F}.imagePullPolicy: Unsupported value: "Odd": supported values: "Always", "IfNotPresent", "Never"'),
    ("pod", f"{C}/terminationMessagePolicy", "Odd", f'{F}.terminationMessagePolicy: Unsupported value: "Odd": supported values: "File", "FallbackToLogsOnError"'),
    ("pod", f"{C}/ports", [{"hostPort": 1}], f"{F}.ports[0].containerPort: Required value"),
    ("pod", f"{C}/ports", [{"containerPort": -1}], f"{F}.ports[0].containerPort: Invalid value: -1: {PORT}"),
    ("pod", f"{C}/ports", [{"containerPort": 1, "hostPort": 65536}], f"{F}.ports[0].hostPort: Invalid value: 65536: {PORT}"),
    ("pod", f"{C}/ports", [{"containerPort": 1, "protocol": "ICMP"}], f'{F}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'),
    *[
        ("pod", f"{C}/ports", [{"containerPort": 1, "name": n}], f'{F}.ports[0].name: Invalid value: "{n}": {m}')
        for n, m in (("a" * 16, "must be no more than 15 bytes"), ("1-2", "must contain at least one letter (a-z)"), ("a--b", "must not contain consecutive hyphens"), ("-a", "must not begin or end with a hyphen"), ("a.b", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"))
    ],
    ("pod", f"{C}/ports", [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}], f'{F}.ports[1].name: Duplicate value: "a"'),
    ("pod", f"{C}/ports", [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}], f'{F}.ports[1].hostPort: Duplicate value: "TCP//5"'),
    ("pod", f"{C}/env", [{"value": "x"}], f"{F}.env[0].name: Required value"),
    ("pod", f"{C}/env", [{"name": "a=b"}], F + ".env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='"),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {}}], F + '.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`'),
    ("pod", f"{C}/env", [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], F + '.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}}], F + '.env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time'),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.volumes"}}}], F + '.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.volumes": error converting fieldPath: field label not supported: spec.volumes'),
    (
        "pod",
        f"{C}/env",
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}],
        F + '.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
    ),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}}], F + '.env[0].valueFrom.fieldRef: Invalid value: "a b": name part must consist of…'),
    (
        "pod",
        f"{C}/env",
        [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}],
        F + '.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"',
    ),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}], F + ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: …: only divisor's values 1m and 1 are supported with the cpu resource"),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "3"}}}], F + ".env[0].valueFrom.resourceFieldRef.divisor: Invalid value: …: only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": ""}}}], f"{F}.env[0].valueFrom.configMapKeyRef.key: Required value"),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": ".."}}}], F + ".env[0].valueFrom.configMapKeyRef.key: Invalid value: \"..\": must not be '..'"),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}], f'{F}.env[0].valueFrom.secretKeyRef.name: Invalid value: "": {DOMAIN}'),
    ("pod", f"{C}/env", [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k", "path": "p", "volumeName": "z"}}}], f"{F}.env[0].valueFrom.fileKeyRef.volumeName: …"),
    ("pod", f"{C}/envFrom", [{}], F + '.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'),
    ("pod", f"{C}/envFrom", [{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}], F + '.envFrom: Invalid value: "": may not have more than one field specified at a time'),
    ("pod", f"{C}/envFrom", [{"configMapRef": {}}], f"{F}.envFrom[0].configMapRef.name: Required value"),
    ("pod", f"{C}/envFrom", [{"secretRef": {"name": "A"}}], f'{F}.envFrom[0].secretRef.name: Invalid value: "A": {DOMAIN}'),
    ("pod", f"{C}/envFrom", [{"prefix": "a=", "secretRef": {"name": "a"}}], F + '.envFrom[0].prefix: Invalid value: "a=": a valid environment variable name…'),
    # resources
    ("pod", f"{C}/resources", {"limits": {"cpu": "-1"}}, f'{F}.resources.limits[cpu]: Invalid value: "-1": {NEG}'),
    ("pod", f"{C}/resources", {"limits": {"gold": "1"}}, f'{F}.resources.limits[gold]: Invalid value: "gold": must be a standard resource type or fully qualified'),
    ("pod", f"{C}/resources", {"limits": {"storage": "1"}}, f'{F}.resources.limits[storage]: Invalid value: "storage": must be a standard resource for containers'),
    ("pod", f"{C}/resources", {"limits": {"example.com/x": "1500m"}}, f'{F}.resources.limits[example.com/x]: Invalid value: "1500m": must be an integer'),
    ("pod", f"{C}/resources", {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, f'{F}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
    ("pod", f"{C}/resources", {"limits": {"example.com/x": "2"}, "requests": {"example.com/x": "1"}}, f'{F}.resources.requests: Invalid value: "1": must be equal to example.com/x limit of 2'),
    ("pod", f"{C}/resources", {"requests": {"example.com/x": "1"}}, f"{F}.resources.limits: Required value: Limit must be set for non overcommitable resources"),
    ("pod", f"{C}/resources", {"limits": {"hugepages-2Mi": "2Mi"}}, f"{F}.resources: Forbidden: HugePages require cpu or memory"),
    ("pod", f"{C}/resources", {"claims": [{"name": ""}]}, f"{F}.resources.claims[0]: Required value"),
    ("pod", f"{C}/resources", {"claims": [{"name": "x"}]}, f'{F}.resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty'),
    ("pod", f"{C}/resources", {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}, f'{F}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi'),
    ("pod", f"{C}/resizePolicy", [{"resourceName": "disk", "restartPolicy": "NotRequired"}], f'{F}.resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"'),
    ("pod", f"{C}/resizePolicy", [{"resourceName": "cpu", "restartPolicy": "Odd"}], f'{F}.resizePolicy: Unsupported value: "Odd": supported values: "NotRequired", "RestartContainer"'),
    ("pod", f"{C}/resizePolicy", [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2, f'{F}.resizePolicy[1]: Duplicate value: "cpu"'),
    ("pod", {"spec/restartPolicy": "Never", f"{C}/resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}, None, F + ".resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"),
    ("pod", "spec/resourceClaims", [{"name": "a"}], "spec.resourceClaims[0]: Invalid value: {…: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
    ("pod", "spec/resourceClaims", [{"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}], "spec.resourceClaims[0]: Invalid value: {…: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
    ("pod", "spec/resourceClaims", [{"name": "a", "resourceClaimName": "A"}], f'spec.resourceClaims[0].resourceClaimName: Invalid value: "A": {DOMAIN}'),
    ("pod", "spec/resources", {"limits": {"ephemeral-storage": "1"}}, 'spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: …'),
    # probes and hooks
    ("pod", f"{C}/livenessProbe", {"periodSeconds": 1}, f"{F}.livenessProbe: Required value: must specify a handler type"),
    ("pod", f"{C}/livenessProbe", probe(exec={"command": ["x"]}), f"{F}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"),
    ("pod", f"{C}/livenessProbe", probe(successThreshold=2), f"{F}.livenessProbe.successThreshold: Invalid value: 2: must be 1"),
    ("pod", f"{C}/startupProbe", probe(successThreshold=2), f"{F}.startupProbe.successThreshold: Invalid value: 2: must be 1"),
    *[("pod", f"{C}/readinessProbe", probe(**{f: -1}), f"{F}.readinessProbe.{f}: Invalid value: -1: {NEG}") for f in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold", "successThreshold")],
    ("pod", f"{C}/livenessProbe", probe(terminationGracePeriodSeconds=0), f"{F}.livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0"),
    ("pod", f"{C}/readinessProbe", probe(terminationGracePeriodSeconds=1), f"{F}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes"),
    ("pod", f"{C}/livenessProbe", {"exec": {}}, f"{F}.livenessProbe.exec.command: Required value"),
    ("pod", f"{C}/livenessProbe", {"httpGet": {"port": 0}}, f"{F}.livenessProbe.httpGet.port: Invalid value: 0: {PORT}"),
    ("pod", f"{C}/livenessProbe", {"httpGet": {"port": "a b"}}, f'{F}.livenessProbe.httpGet.port: Invalid value: "a b": must contain only alpha-numeric…'),
    ("pod", f"{C}/livenessProbe", {"httpGet": {"port": 1, "scheme": "FTP"}}, f'{F}.livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"'),
    ("pod", f"{C}/livenessProbe", {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}}, F + ".livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-'…"),
    ("pod", f"{C}/livenessProbe", {"grpc": {"port": 0}}, f"{F}.livenessProbe.grpc.port: Invalid value: 0: {PORT}"),
    ("pod", f"{C}/lifecycle", {"preStop": {}}, f"{F}.lifecycle.preStop: Required value: must specify a handler type"),
    ("pod", f"{C}/lifecycle", {"preStop": {"sleep": {"seconds": 31}}}, f"{F}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)…"),
    ("pod", f"{C}/lifecycle", {"stopSignal": "SIGTERM"}, f"{F}.lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"),
    # mounts and devices
    ("mounted", f"{C}/volumeMounts/0/name", "z", f'{F}.volumeMounts[0].name: Not found: "z"'),
    ("mounted", f"{C}/volumeMounts/0/mountPath", "", f"{F}.volumeMounts[0].mountPath: Required value"),
    ("mounted", f"{C}/volumeMounts", [{"name": "v", "mountPath": "/v"}] * 2, f'{F}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique'),
    ("mounted", f"{C}/volumeMounts/0/subPath", "/a", f'{F}.volumeMounts.subPath: Invalid value: "/a": must be a relative path'),
    ("mounted", f"{C}/volumeMounts/0/subPathExpr", "a/../b", F + ".volumeMounts.subPathExpr: Invalid value: \"a/../b\": must not contain '..'"),
    ("mounted", {f"{C}/volumeMounts/0/subPath": "a", f"{C}/volumeMounts/0/subPathExpr": "b"}, None, f'{F}.volumeMounts[0].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive'),
    ("mounted", f"{C}/volumeMounts/0/mountPropagation", "Odd", f'{F}.volumeMounts.mountPropagation: Unsupported value: "Odd": supported values: "Bidirectional", "HostToContainer", "None"'),
    ("mounted", f"{C}/volumeMounts/0/mountPropagation", "Bidirectional", f"{F}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"),
    ("mounted", f"{C}/volumeMounts/0/recursiveReadOnly", "Odd", f'{F}.volumeMounts.recursiveReadOnly: Unsupported value: "Odd": supported values: "Disabled", "Enabled", "IfPossible"'),
    ("mounted", f"{C}/volumeMounts/0/recursiveReadOnly", "Enabled", f"{F}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"),
    ("mounted", f"{C}/volumeDevices", [{"name": "v", "devicePath": "/d"}], f'{F}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode'),
    ("mounted", f"{C}/volumeDevices", [{"name": "w", "devicePath": ""}], f"{F}.volumeDevices[0].devicePath: Required value"),
    ("mounted", f"{C}/volumeDevices", [{"name": "w", "devicePath": "/a/../b"}], F + ".volumeDevices[0].devicePath: Invalid value: \"/a/../b\": can not contain backsteps ('..')"),
    ("mounted", f"{C}/volumeDevices", [{"name": "w", "devicePath": "/v"}], f'{F}.volumeDevices[0].devicePath: Invalid value: "/v": must not already exist as a path in volumeMounts'),
    ("mounted", f"{C}/volumeDevices", [{"name": "z", "devicePath": "/z"}], f'{F}.volumeDevices[0].name: Not found: "z"'),
    # init containers
    ("init", "spec/initContainers/0/name", "c", 'spec.initContainers[0].name: Duplicate value: "c"'),
    *[("init", f"spec/initContainers/0/{f}", probe() if f != "lifecycle" else {"preStop": {"exec": {"command": ["x"]}}}, f"spec.initContainers[0].{f}: Forbidden: may not be set for init containers without restartPolicy=Always") for f in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")],
    ("init", "spec/initContainers/0/image", "", "spec.initContainers[0].image: Required value"),
    # volumes: names and counts
    ("pod", "spec/volumes", [{"name": ""}], f"{V}.name: Required value"),
    ("pod", "spec/volumes", [{"name": "A"}], f'{V}.name: Invalid value: "A": {LABEL}'),
    ("pod", "spec/volumes", [{"name": "a"}, {"name": "a"}], 'spec.volumes[1].name: Duplicate value: "a"'),
    ("pod", *volume({"emptyDir": {}, "hostPath": {"path": "/"}}), f"{V}.hostPath: Forbidden: may not specify more than 1 volume type"),
    ("pod", *volume({"emptyDir": {}, "cephfs": {"monitors": ["a"]}}), f"{V}.cephFS: Forbidden: may not specify more than 1 volume type"),
    (
        "pod",
        "spec/volumes",
        [{"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}}}, {"name": "b", "persistentVolumeClaim": {"claimName": "p-a"}}],
        'spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "p-a": must not reference a PVC that gets created for an ephemeral volume',
    ),
    # volumes: what each source needs
    *[
        ("pod", *volume({s: {f: v for f, v in full.items() if f != missing}}), f"{V}.{at or s}.{missing}: Required value")
        for s, at, full, lacks in (
            ("gitRepo", "", {"repository": "r"}, ["repository"]),
            ("gcePersistentDisk", "persistentDisk", {"pdName": "p"}, ["pdName"]),
            ("awsElasticBlockStore", "", {"volumeID": "v"}, ["volumeID"]),
            ("secret", "", {"secretName": "s"}, ["secretName"]),
            ("nfs", "", {"server": "s", "path": "/p"}, ["server", "path"]),
            ("iscsi", "", {"targetPortal": "t", "iqn": "iqn.2001-04.com.example:a", "lun": 1}, ["targetPortal", "iqn"]),
            ("glusterfs", "", {"endpoints": "e", "path": "p"}, ["endpoints", "path"]),
            ("persistentVolumeClaim", "", {"claimName": "c"}, ["claimName"]),
            ("rbd", "", {"monitors": ["m"], "image": "i"}, ["monitors", "image"]),
            ("cinder", "", {"volumeID": "v"}, ["volumeID"]),
            ("cephfs", "", {"monitors": ["m"]}, ["monitors"]),
            ("flexVolume", "", {"driver": "d"}, ["driver"]),
            ("configMap", "", {"name": "c"}, ["name"]),
            ("azureFile", "", {"secretName": "s", "shareName": "h"}, ["secretName", "shareName"]),
            ("vsphereVolume", "", {"volumePath": "v"}, ["volumePath"]),
            ("photonPersistentDisk", "", {"pdID": "p"}, ["pdID"]),
            ("portworxVolume", "", {"volumeID": "v"}, ["volumeID"]),
            ("azureDisk", "", {"diskName": "d", "diskURI": "https://x"}, ["diskName", "diskURI"]),
            ("storageos", "", {"volumeName": "v"}, ["volumeName"]),
            ("scaleIO", "", {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "x"}}, ["gateway", "system", "volumeName"]),
            ("csi", "", {"driver": "d.example.com"}, ["driver"]),
            ("hostPath", "", {"path": "/"}, ["path"]),
        )
        for missing in lacks
    ],
    ("pod", *volume({"image": {"pullPolicy": "Always"}}), f"{V}.image.reference: Required value"),
    ("pod", *volume({"ephemeral": {}}), f"{V}.ephemeral.volumeClaimTemplate: Required value"),
    ("pod", *volume({"emptyDir": {"sizeLimit": "-1"}}), f"{V}.emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"),
    ("pod", *volume({"hostPath": {"path": "/a/../b"}}), V + ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    ("pod", *volume({"hostPath": {"path": "/", "type": "Odd"}}), V + '.hostPath.type: Unsupported value: "Odd": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"'),
    ("pod", *volume({"gitRepo": {"repository": "r", "directory": "/x"}}), V + '.gitRepo.directory: Invalid value: "/x": must be a relative path'),
    ("pod", *volume({"gcePersistentDisk": {"pdName": "p", "partition": 256}}), f"{V}.persistentDisk.partition: Invalid value: 256: must be between 0 and 255, inclusive"),
    ("pod", *volume({"nfs": {"server": "s", "path": "p"}}), V + '.nfs.path: Invalid value: "p": must be an absolute path'),
    ("pod", *volume({"iscsi": {"targetPortal": "t", "iqn": "odd", "lun": 1}}), V + '.iscsi.iqn: Invalid value: "odd": must be valid format starting with iqn, eui, or naa'),
    ("pod", *volume({"iscsi": {"targetPortal": "t", "iqn": "eui.1", "lun": 1}}), V + '.iscsi.iqn: Invalid value: "eui.1": must be valid format'),
    ("pod", *volume({"iscsi": {"targetPortal": "t", "iqn": "iqn.2001-04.com.example:a", "lun": 256}}), f"{V}.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"),
    ("pod", *volume({"iscsi": {"targetPortal": "t", "iqn": "iqn.2001-04.com.example:a", "lun": 1, "chapAuthSession": True}}), f"{V}.iscsi.secretRef: Required value"),
    ("pod", *volume({"iscsi": {"targetPortal": "t" * 63, "iqn": "iqn.2001-04.com.example:a", "lun": 1, "initiatorName": "iqn.2001-04.com.example:a"}}), V + '.name: Invalid value: "v": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.'),
    ("pod", *volume({"flocker": {}}), f"{V}.flocker: Required value: one of datasetName and datasetUUID is required"),
    ("pod", *volume({"flocker": {"datasetName": "a/b"}}), V + ".flocker.datasetName: Invalid value: \"a/b\": must not contain '/'"),
    ("pod", *volume({"flocker": {"datasetName": "a", "datasetUUID": "b"}}), V + '.flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously'),
    ("pod", *volume({"quobyte": {"volume": "v", "registry": "host"}}), V + '.quobyte.registry: Invalid value: "host": must be a host:port pair or multiple pairs separated by commas'),
    ("pod", *volume({"quobyte": {"registry": "h:1", "volume": "v", "tenant": "t" * 65}}), f"{V}.quobyte.tenant: Required value: must be a UUID and may not exceed a length of 64 characters"),
    ("pod", *volume({"fc": {}}), f"{V}.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"),
    ("pod", *volume({"fc": {"targetWWNs": ["w"]}}), f"{V}.fc.lun: Required value: lun is required if targetWWNs is specified"),
    ("pod", *volume({"fc": {"targetWWNs": ["w"], "wwids": ["x"], "lun": 1}}), V + '.fc.targetWWNs: Invalid value: ["w"]: targetWWNs and wwids can not be specified simultaneously'),
    ("pod", *volume({"flexVolume": {"driver": "d", "options": {"a.k8s.io/x": "y"}}}), V + '.flexVolume.options[a.k8s.io/x]: Invalid value: "a.k8s.io/x": kubernetes.io and k8s.io namespaces are reserved'),
    ("pod", *volume({"azureDisk": {"diskName": "d", "diskURI": "https://x", "cachingMode": "Odd"}}), V + '.azureDisk.cachingMode: Unsupported value: "Odd": supported values: "None", "ReadOnly", "ReadWrite"'),
    ("pod", *volume({"azureDisk": {"diskName": "d", "diskURI": "https://x", "kind": "Managed"}}), V + '.azureDisk.diskURI: Unsupported value: "https://x": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"'),
    ("pod", *volume({"storageos": {"volumeName": "A"}}), f'{V}.storageos.volumeName: Invalid value: "A": {LABEL}'),
    ("pod", *volume({"csi": {"driver": "d_d"}}), f'{V}.csi.driver: Invalid value: "d_d": {DOMAIN}'),
    ("pod", *volume({"csi": {"driver": "d", "nodePublishSecretRef": {}}}), f"{V}.csi.nodePublishSecretRef.name: Required value"),
    ("pod", *volume({"secret": {"secretName": "s", "defaultMode": 512}}), f"{V}.secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"),
    ("pod", *volume({"configMap": {"name": "c", "items": [{"path": "p"}]}}), f"{V}.configMap.items[0].key: Required value"),
    ("pod", *volume({"configMap": {"name": "c", "items": [{"key": "k", "path": "..p"}]}}), V + ".configMap.items[0].path: Invalid value: \"..p\": must not start with '..'"),
    ("pod", *volume({"secret": {"secretName": "s", "items": [{"key": "k", "path": "p", "mode": -1}]}}), f"{V}.secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive"),
    ("pod", *volume({"downwardAPI": {"items": [{"path": "p"}]}}), f"{V}.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"),
    ("pod", *volume({"downwardAPI": {"items": [{"path": "/p", "fieldRef": {"fieldPath": "metadata.name"}}]}}), V + '.downwardAPI.path: Invalid value: "/p": must be a relative path'),
    ("pod", *volume({"downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"resource": "limits.cpu"}}]}}), f"{V}.downwardAPI.resourceFieldRef.containerName: Required value"),
    ("pod", *volume({"projected": {"sources": [{"secret": {}}]}}), f"{V}.projected.sources[0].secret.name: Required value"),
    ("pod", *volume({"projected": {"sources": [{"secret": {"name": "a"}, "configMap": {"name": "b"}}]}}), f"{V}.projected.sources[0]: Forbidden: may not specify more than 1 volume type"),
    ("pod", {"spec/serviceAccountName": "a", "spec/volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 599}}]}}]}, None, f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"),
    ("pod", {"spec/serviceAccountName": "a", "spec/volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": ""}}]}}]}, None, f"{V}.projected.path: Required value"),
    ("pod", *volume({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}), f"{V}.projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"),
    ("pod", *volume({"projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}), f"{V}.projected.sources[0].clusterTrustBundlePEM: Required value: either name or signerName must be specified"),
    ("pod", *volume({"projected": {"sources": [{"clusterTrustBundle": {"path": "p", "signerName": "x"}}]}}), V + ".projected.sources[0].clusterTrustBundlePEM.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    ("pod", *volume({"projected": {"sources": [{"configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}}, {"secret": {"name": "b", "items": [{"key": "k", "path": "p"}]}}]}}), V + '.projected: Invalid value: "b": conflicting duplicate paths'),
]

GOOD = [
    ("pod", "spec/containers/0/env", [{"name": "a b.c-!", "value": "x"}]),
    ("pod", "spec/tolerations", [{"operator": "Exists"}]),
    ("pod", "spec/hostNetwork", True),
    ("pod", "spec/imagePullSecrets", [{}]),
    ("pod", "spec/terminationGracePeriodSeconds", -5),
    ("pod", "metadata/finalizers", ["example.com/a", "foregroundDeletion"]),
    ("pod", "metadata/annotations", {"controller.kubernetes.io/pod-deletion-cost": "-2147483648"}),
    ("pod", "spec/dnsConfig", {"searches": ["a_b.c.", "."], "options": [{"name": "x"}]}),
    ("pod", "spec/topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}, "matchLabelKeys": ["app"]}]),
    ("pod", "spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms", [{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]}]),
    ("pod", f"{C}/resources", {"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}),
    ("pod", f"{C}/lifecycle", {"preStop": {"sleep": {"seconds": 0}}}),
    ("pod", f"{C}/securityContext", {"windowsOptions": {"runAsUserName": "NT AUTHORITY\\SYSTEM"}}),
    ("pod", *volume({"iscsi": {"targetPortal": "t", "iqn": "naa." + "1" * 32, "lun": 0}})),
    ("pod", *volume({"quobyte": {"registry": "a:1,[::1]:2", "volume": "v"}})),
    ("pod", *volume({"image": {"reference": "r:1"}})),
    ("mounted", f"{C}/volumeDevices", [{"name": "w", "devicePath": "/dev/x"}]),
    ("init", "spec/initContainers/0", {"name": "i", "image": "i:1", "restartPolicy": "Always", "readinessProbe": probe()}),
    ("windows", "spec/securityContext/windowsOptions", {"runAsUserName": "dom.example\\user"}),
    ("windows", {"spec/hostNetwork": True, "spec/securityContext/windowsOptions": {"hostProcess": True}}, None),
]

UPDATES = [
    ("pod", f"{C}/name", "other", "spec: Forbidden: pod updates may not change fields other than…"),
    ("pod", f"{C}/image", "", f"{F}.image: Required value"),
    ("pod", f"{C}/image", " i", f'{F}.image: Invalid value: " i": must not have leading or trailing whitespace'),
    ("pod", "spec/containers/1", {"name": "d", "image": "i"}, "spec.containers: Forbidden: pod updates may not add or remove containers"),
    ("pod", "spec/nodeName", "n", "spec: Forbidden: pod updates may not change fields other than…"),
    ("pod", "spec/activeDeadlineSeconds", -1, "spec.activeDeadlineSeconds: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
    ("pod", "metadata/annotations", {"kubernetes.io/config.mirror": "x"}, "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"),
    ("pod", "metadata/annotations", {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}, "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not add AppArmor annotations"),
    ("pod", "spec/schedulingGates", [{"name": "a"}], "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'"),
    ("pod", "metadata/uid", "other", 'metadata.uid: Invalid value: "other": field is immutable'),
]
