"""What decides about requests (webhooks, policies, flow control), and devices."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
# fmt: off
from __future__ import annotations

ADM = "admissionregistration.k8s.io"
FLOW = "flowcontrol.apiserver.k8s.io"
RES = "resource.k8s.io"
HOOK = {"name": "a.example.com", "clientConfig": {"url": "https://a.example.com/x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]}
MATCH = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]}
DEVICES = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}]}}
BASES = {
    "validating": ((ADM, "v1", "validatingwebhookconfigurations"), {"metadata": {"name": "w"}, "webhooks": [HOOK]}),
    "mutating": ((ADM, "v1", "mutatingwebhookconfigurations"), {"metadata": {"name": "w"}, "webhooks": [HOOK]}),
    "policy": ((ADM, "v1", "validatingadmissionpolicies"), {"metadata": {"name": "w"}, "spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}]}}),
    "binding": ((ADM, "v1", "validatingadmissionpolicybindings"), {"metadata": {"name": "w"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    "mutation": ((ADM, "v1", "mutatingadmissionpolicies"), {"metadata": {"name": "w"}, "spec": {"matchConstraints": MATCH, "reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}}),
    "mutationbinding": ((ADM, "v1", "mutatingadmissionpolicybindings"), {"metadata": {"name": "w"}, "spec": {"policyName": "p"}}),
    "flow": ((FLOW, "v1", "flowschemas"), {"metadata": {"name": "w"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 5, "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}}),
    "level": ((FLOW, "v1", "prioritylevelconfigurations"), {"metadata": {"name": "w"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}}),
    "claim": ((RES, "v1", "resourceclaims"), {"metadata": {"name": "w"}, "spec": DEVICES}),
    "claimtemplate": ((RES, "v1", "resourceclaimtemplates"), {"metadata": {"name": "w"}, "spec": {"spec": DEVICES}}),
    "deviceclass": ((RES, "v1", "deviceclasses"), {"metadata": {"name": "w"}, "spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
    "slice": ((RES, "v1", "resourceslices"), {"metadata": {"name": "w"}, "spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "a", "attributes": {"x": {"int": 1}}, "capacity": {"m": {"value": "1"}}}]}}),
}


def hook(**m):
    return "webhooks", [{**HOOK, **m}]


def hookrule(**m):
    return "webhooks/0/rules", [{**HOOK["rules"][0], **m}]


def flowrule(**m):
    return "spec/rules/0/resourceRules", [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], **m}]


def who(**m):
    return "spec/rules/0/subjects", [m]


def queuing(**m):
    return "spec/limited/limitResponse/queuing", {"queues": 64, "handSize": 6, "queueLengthLimit": 50, **m}


def request(**m):
    return "spec/devices/requests", [m]


def exactly(**m):
    return "spec/devices/requests", [{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1, **m}}]


def device(**m):
    return "spec/devices", [{"name": "a", **m}]


BAD = [
    ("validating", *hook(name="a"), 'webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots'),
    ("validating", *hook(name=""), "webhooks[0].name: Required value"),
    ("validating", *hook(sideEffects="Some"), 'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
    ("validating", *hook(sideEffects="Unknown"), 'webhooks[0].sideEffects: Unsupported value: "Unknown": supported values: "None", "NoneOnDryRun"'),
    ("validating", *hook(admissionReviewVersions=[]), "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
    ("validating", *hook(admissionReviewVersions=["v9"]), 'webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1'),
    ("validating", *hook(admissionReviewVersions=["v1", "v1"]), 'webhooks[0].admissionReviewVersions[1]: Invalid value: "v1": duplicate version'),
    ("validating", *hook(admissionReviewVersions=["V_"]), 'webhooks[0].admissionReviewVersions[0]: Invalid value: "V_": a DNS-1035 label must consist of…'),
    ("validating", *hook(failurePolicy="Shrug"), 'webhooks[0].failurePolicy: Unsupported value: "Shrug": supported values: "Fail", "Ignore"'),
    ("validating", *hook(matchPolicy="Near"), 'webhooks[0].matchPolicy: Unsupported value: "Near": supported values: "Equivalent", "Exact"'),
    ("validating", *hook(timeoutSeconds=31), "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
    ("validating", *hook(timeoutSeconds=0), "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds"),
    ("validating", *hook(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "Is"}]}), 'webhooks[0].namespaceSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator'),
    ("validating", *hook(objectSelector={"matchExpressions": [{"key": "a", "operator": "Is"}]}), 'webhooks[0].objectSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator'),
    ("validating", *hook(matchConditions=[{"name": "a b", "expression": "true"}]), 'webhooks[0].matchConditions[0].name: Invalid value: "a b": name part must consist of…'),
    ("validating", *hook(matchConditions=[{"name": "a", "expression": ""}]), "webhooks[0].matchConditions[0].expression: Required value"),
    ("validating", *hook(matchConditions=[{"name": "a", "expression": "true"}] * 2), 'webhooks[0].matchConditions[1].name: Duplicate value: "a"'),
    ("validating", *hook(matchConditions=[{"name": f"a{i}", "expression": "true"} for i in range(65)]), "webhooks[0].matchConditions: Too many: 65: must have at most 64 items"),
    ("validating", *hook(clientConfig={}), "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
    ("validating", *hook(clientConfig={"url": "http://a.com"}), "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"),
    ("validating", *hook(clientConfig={"url": "https://u@a.com/x"}), 'webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL'),
    ("validating", *hook(clientConfig={"url": "https://a.com/x?y=z"}), 'webhooks[0].clientConfig.url: Invalid value: "y=z": query parameters are not permitted in the URL'),
    ("validating", *hook(clientConfig={"url": "https://a.com/x#y"}), 'webhooks[0].clientConfig.url: Invalid value: "y": fragments are not permitted in the URL'),
    ("validating", *hook(clientConfig={"url": "https:///x"}), 'webhooks[0].clientConfig.url: Invalid value: "": host must be specified; desired format: https://host[/path]'),
    ("validating", *hook(clientConfig={"url": "https://a.com", "service": {"name": "s", "namespace": "n"}}), "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
    ("validating", *hook(clientConfig={"service": {"name": "", "namespace": "n"}}), "webhooks[0].clientConfig.service.name: Required value: service name is required"),
    ("validating", *hook(clientConfig={"service": {"name": "s", "namespace": ""}}), "webhooks[0].clientConfig.service.namespace: Required value: service namespace is required"),
    ("validating", *hook(clientConfig={"service": {"name": "s", "namespace": "n", "port": 70000}}), "webhooks[0].clientConfig.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive"),
    ("validating", *hook(clientConfig={"service": {"name": "s", "namespace": "n", "path": "x"}}), "webhooks[0].clientConfig.service.path: Invalid value: \"x\": must start with a '/'"),
    ("validating", *hook(clientConfig={"service": {"name": "s", "namespace": "n", "path": "/a//b"}}), 'webhooks[0].clientConfig.service.path: Invalid value: "/a//b": segment[1] may not be empty'),
    ("validating", *hookrule(operations=[]), "webhooks[0].rules[0].operations: Required value"),
    ("validating", *hookrule(operations=["*", "CREATE"]), 'webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other operations'),
    ("validating", *hookrule(operations=["LOOK"]), 'webhooks[0].rules[0].operations[0]: Unsupported value: "LOOK": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"'),
    ("validating", *hookrule(apiGroups=[]), "webhooks[0].rules[0].apiGroups: Required value"),
    ("validating", *hookrule(apiGroups=["*", "a"]), 'webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if \'*\' is present, must not specify other API groups'),
    ("validating", *hookrule(apiVersions=[]), "webhooks[0].rules[0].apiVersions: Required value"),
    ("validating", *hookrule(apiVersions=["*", "v1"]), 'webhooks[0].rules[0].apiVersions: Invalid value: ["*","v1"]: if \'*\' is present, must not specify other API versions'),
    ("validating", *hookrule(apiVersions=[""]), "webhooks[0].rules[0].apiVersions[0]: Required value"),
    ("validating", *hookrule(resources=[]), "webhooks[0].rules[0].resources: Required value"),
    ("validating", *hookrule(resources=["*", "pods"]), 'webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources without subresources'),
    ("validating", *hookrule(resources=["*/*", "pods/log"]), 'webhooks[0].rules[0].resources: Invalid value: ["*/*","pods/log"]: if \'*/*\' is present, must not specify other resources'),
    ("validating", *hookrule(resources=["pods/*", "pods/log"]), "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"),
    ("validating", *hookrule(resources=["*/log", "pods/log"]), "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if '*/log' is present, must not specify pods/log"),
    ("validating", *hookrule(resources=[""]), "webhooks[0].rules[0].resources[0]: Required value"),
    ("validating", *hookrule(scope="Galaxy"), 'webhooks[0].rules[0].scope: Unsupported value: "Galaxy": supported values: "*", "Cluster", "Namespaced"'),
    ("validating", "webhooks", [HOOK, HOOK], 'webhooks[1].name: Duplicate value: "a.example.com"'),
    ("mutating", *hook(reinvocationPolicy="Often"), 'webhooks[0].reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"'),
    ("policy", "spec/matchConstraints", ..., "spec.matchConstraints: Required value"),
    ("policy", "spec/matchConstraints", {}, "spec.matchConstraints.resourceRules: Required value"),
    ("policy", "spec/failurePolicy", "Shrug", 'spec.failurePolicy: Unsupported value: "Shrug": supported values: "Fail", "Ignore"'),
    ("policy", "spec/validations", [], "spec.validations: Required value: validations or auditAnnotations must contain at least one item"),
    ("policy", "spec/validations", [{"expression": ""}], "spec.validations[0].expression: Required value: expression is not specified"),
    ("policy", "spec/validations", [{"expression": "true", "message": " "}], 'spec.validations[0].message: Invalid value: " ": message must be non-empty if specified'),
    ("policy", "spec/validations", [{"expression": "true", "message": "a\nb"}], 'spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks'),
    ("policy", "spec/validations", [{"expression": "true", "reason": "Mood"}], 'spec.validations[0].reason: Unsupported value: "Mood": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"'),
    ("policy", "spec/validations", [{"expression": "true", "messageExpression": " "}], 'spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified'),
    ("policy", "spec/paramKind", {"apiVersion": "", "kind": "K"}, "spec.paramKind.apiVersion: Required value"),
    ("policy", "spec/paramKind", {"apiVersion": "a/b/c", "kind": "K"}, 'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'),
    ("policy", "spec/paramKind", {"apiVersion": "v1", "kind": ""}, "spec.paramKind.kind: Required value"),
    ("policy", "spec/auditAnnotations", [{"key": "a b", "valueExpression": "'x'"}], 'spec.auditAnnotations[0].key: Invalid value: "w/a b": name part must consist of…'),
    ("policy", "spec/auditAnnotations", [{"key": "a", "valueExpression": ""}], "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified"),
    ("policy", "spec/auditAnnotations", [{"key": "a", "valueExpression": "'x'"}] * 2, 'spec.auditAnnotations[1].key: Duplicate value: "a"'),
    ("policy", "spec/auditAnnotations", [{"key": f"a{i}", "valueExpression": "'x'"} for i in range(21)], 'spec.auditAnnotations: Invalid value: [{"key":"a0","valueExpression":"\'x\'"},{"key":"a1","valueExpressio…'),
    ("policy", "spec/variables", [{"name": "", "expression": "1"}], "spec.variables[0].name: Required value: name is not specified"),
    ("policy", "spec/variables", [{"name": "a b", "expression": "1"}], 'spec.variables[0].name: Invalid value: "a b": name is not a valid CEL identifier'),
    ("policy", "spec/variables", [{"name": "a", "expression": ""}], "spec.variables[0].expression: Required value: expression is not specified"),
    ("policy", "spec/matchConditions", [{"name": "a", "expression": ""}], "spec.matchConditions[0].expression: Required value"),
    ("binding", "spec/policyName", "", "spec.policyName: Required value"),
    ("binding", "spec/policyName", "A_", 'spec.policyName: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of…'),
    ("binding", "spec/validationActions", [], "spec.validationActions: Required value: at least one validation action is required"),
    ("binding", "spec/validationActions", ["Frown"], 'spec.validationActions[0]: Unsupported value: "Frown": supported values: "Audit", "Deny", "Warn"'),
    ("binding", "spec/validationActions", ["Deny", "Warn"], 'spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)'),
    ("binding", "spec/validationActions", ["Audit", "Audit"], 'spec.validationActions[1]: Duplicate value: "Audit"'),
    ("binding", "spec/paramRef", {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}, "spec.paramRef.name: Forbidden: name and selector are mutually exclusive"),
    ("binding", "spec/paramRef", {"parameterNotFoundAction": "Deny"}, "spec.paramRef: Required value: one of name or selector must be specified"),
    ("binding", "spec/paramRef", {"name": "a"}, "spec.paramRef.parameterNotFoundAction: Required value"),
    ("binding", "spec/paramRef", {"name": "a", "parameterNotFoundAction": "Cry"}, 'spec.paramRef.parameterNotFoundAction: Unsupported value: "Cry": supported values: "Deny", "Allow"'),
    ("mutation", "spec/mutations", [], "spec.mutations: Required value: mutations must contain at least one item"),
    ("mutation", "spec/mutations", [{"patchType": "JSONPatch"}], "spec.mutations[0].jsonPatch.expression: Required value: expression is not specified"),
    ("mutation", "spec/mutations", [{"patchType": "Poem", "jsonPatch": {"expression": "[]"}}], 'spec.mutations[0].patchType: Unsupported value: "Poem": supported values: "ApplyConfiguration", "JSONPatch"'),
    ("mutation", "spec/mutations", [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": ""}}], "spec.mutations[0].applyConfiguration.expression: Required value: expression is not specified"),
    ("mutation", "spec/reinvocationPolicy", "", 'spec.reinvocationPolicy: Unsupported value: "": supported values: "IfNeeded", "Never"'),
    ("mutation", "spec/reinvocationPolicy", "Often", 'spec.reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"'),
    ("mutationbinding", "spec/policyName", "", "spec.policyName: Required value"),
    ("mutationbinding", "spec/paramRef", {"name": "a"}, "spec.paramRef.parameterNotFoundAction: Required value"),
    ("flow", "spec/matchingPrecedence", 10001, "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"),
    ("flow", "spec/matchingPrecedence", 1, "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
    ("flow", "spec/priorityLevelConfiguration/name", "", "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"),
    ("flow", "spec/distinguisherMethod", {"type": "Height"}, 'spec.distinguisherMethod.type: Unsupported value: {"type":"Height"}: supported values: "ByNamespace", "ByUser"'),
    ("flow", "spec/rules/0/subjects", [], "spec.rules[0].subjects: Required value: subjects must contain at least one value"),
    ("flow", "spec/rules/0/resourceRules", [], "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"),
    ("flow", *who(kind="Robot"), 'spec.rules[0].subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"'),
    ("flow", *who(kind="User"), "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'"),
    ("flow", *who(kind="User", user={"name": ""}), "spec.rules[0].subjects[0].user.name: Required value"),
    ("flow", *who(kind="Group", group={"name": ""}), "spec.rules[0].subjects[0].group.name: Required value"),
    ("flow", *who(kind="ServiceAccount", serviceAccount={"name": "", "namespace": "n"}), "spec.rules[0].subjects[0].serviceAccount.name: Required value"),
    ("flow", *who(kind="ServiceAccount", serviceAccount={"name": "a", "namespace": ""}), "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account"),
    ("flow", *who(kind="User", user={"name": "u"}, group={"name": "g"}), "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'"),
    ("flow", *flowrule(verbs=[]), "spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value"),
    ("flow", *flowrule(verbs=["look"]), 'spec.rules[0].resourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"'),
    ("flow", *flowrule(verbs=["*", "get"]), 'spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if \'*\' is present, must not specify other verbs'),
    ("flow", *flowrule(apiGroups=[]), "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group"),
    ("flow", *flowrule(apiGroups=["*", "a"]), 'spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["*","a"]: if \'*\' is present, must not specify other api groups'),
    ("flow", *flowrule(resources=[]), "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource"),
    ("flow", *flowrule(resources=["*", "pods"]), 'spec.rules[0].resourceRules[0].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources'),
    ("flow", *flowrule(namespaces=[]), "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace"),
    ("flow", *flowrule(namespaces=["*", "a"]), 'spec.rules[0].resourceRules[0].namespaces: Invalid value: ["*","a"]: if \'*\' is present, must not specify other namespaces'),
    ("flow", *flowrule(namespaces=["A_"]), "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A_\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of…"),
    ("flow", "spec/rules/0/nonResourceRules", [{"verbs": ["get"], "nonResourceURLs": []}], "spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value"),
    ("flow", "spec/rules/0/nonResourceRules", [{"verbs": ["look"], "nonResourceURLs": ["/x"]}], 'spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"'),
    ("flow", "spec/rules/0/nonResourceRules", [{"verbs": ["get"], "nonResourceURLs": ["x"]}], 'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "x": must start with slash'),
    ("flow", "spec/rules/0/nonResourceRules", [{"verbs": ["get"], "nonResourceURLs": ["/x/*/y"]}], 'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/x/*/y": wildcard can only do suffix matching'),
    ("flow", "spec/rules/0/nonResourceRules", [{"verbs": ["get"], "nonResourceURLs": ["/x//y"]}], 'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/x//y": must not contain double slash'),
    ("level", "spec/type", "Loose", 'spec.type: Unsupported value: "Loose": supported values: "Exempt", "Limited"'),
    ("level", "spec/type", "Exempt", "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"),
    ("level", "spec/limited", ..., "spec.limited: Required value: must not be empty when type is Limited"),
    ("level", "spec/limited/nominalConcurrencyShares", -1, "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer"),
    ("level", "spec/limited/lendablePercent", 101, "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"),
    ("level", "spec/limited/borrowingLimitPercent", -1, "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"),
    ("level", "spec/limited/limitResponse/type", "Wait", 'spec.limited.limitResponse.type: Unsupported value: "Wait": supported values: "Queue", "Reject"'),
    ("level", "spec/limited/limitResponse", {"type": "Reject", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}}, "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"),
    ("level", "spec/limited/limitResponse/queuing", ..., "spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited"),
    ("level", *queuing(queues=10000001), "spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000"),
    ("level", *queuing(handSize=65), "spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"),
    ("level", *queuing(handSize=50), "spec.limited.limitResponse.queuing.handSize: Invalid value: 50: required entropy bits of deckSize 64 and handSize 50 should not be greater than 60"),
    ("level", {"metadata/name": "exempt", "spec": {"type": "Exempt", "exempt": {"lendablePercent": 101}}}, None, "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"),
    ("claim", *request(name="r"), "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"),
    ("claim", *request(name="R_", exactly={"deviceClassName": "c"}), 'spec.devices.requests[0].name: Invalid value: "R_": a lowercase RFC 1123 label must consist of…'),
    ("claim", *exactly(deviceClassName=""), "spec.devices.requests[0].exactly.deviceClassName: Required value"),
    ("claim", *exactly(deviceClassName="C_"), 'spec.devices.requests[0].exactly.deviceClassName: Invalid value: "C_": a lowercase RFC 1123 subdomain must consist of…'),
    ("claim", *exactly(count=0), "spec.devices.requests[0].exactly.count: Invalid value: 0: must be greater than zero"),
    ("claim", *exactly(allocationMode="All"), "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'"),
    ("claim", *exactly(allocationMode="Some"), 'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"'),
    ("claim", *exactly(selectors=[{}]), "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
    ("claim", *exactly(selectors=[{"cel": {"expression": ""}}]), "spec.devices.requests[0].exactly.selectors[0].cel.expression: Required value"),
    ("claim", *exactly(selectors=[{"cel": {"expression": "true"}}] * 33), "spec.devices.requests[0].exactly.selectors: Too many: 33: must have at most 32 items"),
    ("claim", "spec/devices/constraints", [{"requests": ["x"], "matchAttribute": "a.b/c"}], "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"),
    ("claim", "spec/devices/constraints", [{"requests": ["r"]}], 'spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'),
    ("claim", "spec/devices/constraints", [{"requests": ["r"], "matchAttribute": "c"}], 'spec.devices.constraints[0].matchAttribute: Invalid value: "c": a fully qualified name must be a domain and a name separated by a slash'),
    ("claim", "spec/devices/config", [{"requests": ["x"], "opaque": {"driver": "d", "parameters": {"a": 1}}}], "spec.devices.config[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"),
    ("claim", "spec/devices/config", [{"requests": ["r"]}], "spec.devices.config[0].opaque: Required value"),
    ("claim", "spec/devices/config", [{"requests": ["r"], "opaque": {"driver": "", "parameters": {"a": 1}}}], "spec.devices.config[0].opaque.driver: Required value"),
    ("claim", *request(name="r", exactly={"deviceClassName": "c"}, firstAvailable=[{"name": "s", "deviceClassName": "c"}]), "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"),
    ("claim", *request(name="r", firstAvailable=[{"name": f"s{i}", "deviceClassName": "c"} for i in range(9)]), "spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items"),
    ("claim", *request(name="r", firstAvailable=[{"name": "s", "deviceClassName": "c"}] * 2), 'spec.devices.requests[0].firstAvailable[1]: Duplicate value: "s"'),
    ("claim", "spec/devices/requests", [{"name": "r", "exactly": {"deviceClassName": "c"}}] * 2, 'spec.devices.requests[1]: Duplicate value: "r"'),
    ("claimtemplate", "spec/spec/devices/requests/0/exactly/deviceClassName", "", "spec.spec.devices.requests[0].exactly.deviceClassName: Required value"),
    ("claimtemplate", "spec/metadata", {"labels": {"a b": "c"}}, 'spec.metadata.labels: Invalid value: "a b": name part must consist of…'),
    ("deviceclass", "spec/selectors", [{"cel": {"expression": ""}}], "spec.selectors[0].cel.expression: Required value"),
    ("deviceclass", "spec/config", [{"opaque": {"driver": "D_", "parameters": {"a": 1}}}], 'spec.config[0].opaque.driver: Invalid value: "D_": a lowercase RFC 1123 subdomain must consist of…'),
    ("slice", "spec/driver", "", "spec.driver: Required value"),
    ("slice", "spec/driver", "D_", 'spec.driver: Invalid value: "D_": a lowercase RFC 1123 subdomain must consist of…'),
    ("slice", "spec/nodeName", ..., "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"),
    ("slice", "spec/allNodes", True, 'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set'),
    ("slice", "spec/nodeName", "N_", 'spec.nodeName: Invalid value: "N_": a lowercase RFC 1123 subdomain must consist of…'),
    ("slice", "spec/pool/name", "", "spec.pool.name: Required value"),
    ("slice", "spec/pool/name", "P_", 'spec.pool.name: Invalid value: "P_": a lowercase RFC 1123 subdomain must consist of…'),
    ("slice", "spec/pool/resourceSliceCount", 0, "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
    ("slice", "spec/pool/generation", -1, "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero"),
    ("slice", *device(name="A_"), 'spec.devices[0].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of…'),
    ("slice", "spec/devices", [{"name": "a"}, {"name": "a"}], 'spec.devices[1]: Duplicate value: "a"'),
    ("slice", "spec/devices", [{"name": f"a{i}"} for i in range(129)], "spec.devices: Too many: 129: must have at most 128 items"),
    ("slice", *device(attributes={"x": {}}), 'spec.devices[0].attributes[x]: Invalid value: "": exactly one value must be specified'),
    ("slice", *device(attributes={"x": {"int": 1, "bool": True}}), 'spec.devices[0].attributes[x]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified'),
    ("slice", *device(attributes={"a b": {"int": 1}}), 'spec.devices[0].attributes[a b]: Invalid value: "a b": a valid C identifier must start with alphabetic character …'),
    ("slice", *device(attributes={"v": {"version": "1"}}), 'spec.devices[0].attributes[v].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0'),
    ("slice", *device(attributes={"s": {"string": "x" * 65}}), "spec.devices[0].attributes[s].string: Too long: may not be more than 64 bytes"),
    ("slice", *device(attributes={"D_/x": {"int": 1}}), 'spec.devices[0].attributes[D_/x]: Invalid value: "D_": a lowercase RFC 1123 subdomain must consist of…'),
    ("slice", *device(attributes={f"x{i}": {"int": 1} for i in range(33)}), "spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32"),
    ("slice", *device(capacity={"a b": {"value": "1"}}), 'spec.devices[0].capacity[a b]: Invalid value: "a b": a valid C identifier must start with alphabetic character …'),
    ("slice", *device(taints=[{"key": "a b", "effect": "NoSchedule"}]), 'spec.devices[0].taints[0].key: Invalid value: "a b": name part must consist of…'),
    ("slice", *device(taints=[{"key": "a", "effect": "Never"}]), 'spec.devices[0].taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"'),
]

GOOD = [("flow", "spec/matchingPrecedence", 0), ("level", *queuing(queues=0)), ("level", *queuing(handSize=0)), ("level", *queuing(queueLengthLimit=0)), ("claim", "spec/devices/requests", [])]

UPDATES = [
    ("claim", "spec/devices/requests/0/name", "q", 'spec: Invalid value: {"devices":{"requests":[{"exactly":{"allocationMode":"ExactCount","count":1,"deviceClassName":"c"},"name":"q"}]}}: field is immutable'),
    ("claimtemplate", "spec/spec/devices/requests/0/name", "q", 'spec: Invalid value: {"metadata":{},"spec":{"devices":{"requests":[{"exactly":{"alloca…'),
    ("slice", "spec/driver", "e.example.com", 'spec.driver: Invalid value: "e.example.com": field is immutable'),
    ("slice", "spec/pool/name", "q", 'spec.pool.name: Invalid value: "q": field is immutable'),
    ("slice", "spec/nodeName", "m", 'spec.nodeName: Invalid value: "m": field is immutable'),
    ("level", "spec/limited/nominalConcurrencyShares", -2, "spec.limited.nominalConcurrencyShares: Invalid value: -2: must be a non-negative integer"),
    ("binding", "spec/policyName", "", "spec.policyName: Required value"),
    ("claim", "status/reservedFor", [{"resource": "pods", "name": "p", "uid": "1"}], "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"),
    ("claim", "status/allocation", {"devices": {"results": [{"request": "x", "driver": "d", "pool": "p", "device": "v"}]}}, "status.allocation.devices.results[0].request: Invalid value: \"x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"),
    ("claim", "status/devices", [{"driver": "d", "pool": "p", "device": "v"}], 'status.devices[0]: Invalid value: "d/p/v": must be an allocated device in the claim'),
    ("claim", "status/allocation", {"devices": {"results": [{"request": "r", "driver": "", "pool": "p", "device": "v"}]}}, "status.allocation.devices.results[0].driver: Required value"),
]
