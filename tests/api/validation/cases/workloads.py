"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs and what they leave behind."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
# fmt: off
from __future__ import annotations

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
SPEC = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
ONCE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
STATEFUL = {"metadata": {"name": "w"}, "spec": {**SPEC, "serviceName": "s"}}
JOB = {"metadata": {"name": "w"}, "spec": {"template": ONCE}}
INDEXED = {"metadata": {"name": "w"}, "spec": {"template": ONCE, "completionMode": "Indexed", "completions": 5, "parallelism": 5, "backoffLimitPerIndex": 1}}
CRON = {"metadata": {"name": "w"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": ONCE}}}}
NEG = "must be greater than or equal to 0"
STRAY = "`selector` does not match template `labels`"

BASES = {
    "deployment": (("apps", "v1", "deployments"), {"metadata": {"name": "w"}, "spec": SPEC}),
    "replicaset": (("apps", "v1", "replicasets"), {"metadata": {"name": "w"}, "spec": SPEC}),
    "daemonset": (("apps", "v1", "daemonsets"), {"metadata": {"name": "w"}, "spec": SPEC}),
    "statefulset": (("apps", "v1", "statefulsets"), STATEFUL),
    "rc": (("", "v1", "replicationcontrollers"), {"metadata": {"name": "w"}, "spec": {"selector": {"a": "b"}, "template": TEMPLATE}}),
    "template": (("", "v1", "podtemplates"), {"metadata": {"name": "w"}, "template": TEMPLATE}),
    "revision": (("apps", "v1", "controllerrevisions"), {"metadata": {"name": "w"}, "revision": 1, "data": {"a": 1}}),
    "job": (("batch", "v1", "jobs"), JOB),
    "indexed": (("batch", "v1", "jobs"), INDEXED),
    "cronjob": (("batch", "v1", "cronjobs"), CRON),
}


def failing(**rule):
    return "spec/podFailurePolicy", {"rules": [{"action": "Ignore", **rule}]}


def codes(**more):
    return {"onExitCodes": {"operator": "In", "values": [1], **more}}


def success(**rule):
    return "spec/successPolicy", {"rules": [rule]}


RULE = "spec.podFailurePolicy.rules[0]"
WON = "spec.successPolicy.rules[0]"
SELECTED = ("deployment", "replicaset", "daemonset", "statefulset")
# upstream judges ReplicaSets with the words of deployments
WORDS = {"replicaset": "deployment"}

BAD = [
    *[(k, "spec/selector", {}, f"spec.selector: Invalid value: {{}}: empty selector is invalid for {WORDS.get(k, k)}") for k in SELECTED],
    *[(k, "spec/selector", ..., "spec.selector: Required value") for k in SELECTED],
    *[(k, "spec/selector/matchLabels", {"a": "z"}, f'spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {STRAY}') for k in SELECTED],
    *[(k, "spec/selector/matchExpressions", [{"key": "a", "operator": "Like"}], 'spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator') for k in SELECTED],
    ("deployment", "spec/selector/matchExpressions", [{"key": "a", "operator": "Exists", "values": ["b"]}], "spec.selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
    ("deployment", "spec/selector/matchExpressions", [{"key": "", "operator": "Exists"}], 'spec.selector.matchExpressions[0].key: Invalid value: "": name part must be non-empty'),
    ("deployment", "spec/selector/matchLabels", {"a": "b c"}, 'spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string…'),
    *[(k, "spec/replicas", -1, f"spec.replicas: Invalid value: -1: {NEG}") for k in ("deployment", "replicaset", "statefulset", "rc")],
    *[(k, "spec/minReadySeconds", -1, f"spec.minReadySeconds: Invalid value: -1: {NEG}") for k in ("deployment", "replicaset", "daemonset", "statefulset", "rc")],
    *[(k, "spec/revisionHistoryLimit", -1, f"spec.revisionHistoryLimit: Invalid value: -1: {NEG}") for k in ("deployment", "daemonset", "statefulset")],
    *[(k, "spec/template/spec/restartPolicy", "Never", 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"') for k in ("deployment", "replicaset", "daemonset", "statefulset", "rc")],
    *[
        (k, "spec/template/spec/activeDeadlineSeconds", 5, f"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {word} is not Supported")
        for k, word in (("deployment", "ReplicaSet"), ("replicaset", "ReplicaSet"), ("daemonset", "DaemonSet"), ("statefulset", "StatefulSet"), ("rc", "ReplicationController"))
    ],
    *[(k, "spec/template/metadata/annotations", {"a b": ""}, 'spec.template.annotations: Invalid value: "a b": name part must consist of…') for k in ("deployment", "statefulset")],
    ("deployment", "spec/template/spec/ephemeralContainers", [{"name": "e", "image": "i"}], "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"),
    ("deployment", "spec/template/metadata/annotations", {"controller.kubernetes.io/pod-deletion-cost": "x"}, 'spec.template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "x": must be a 32bit integer'),
    ("template", "template/spec/containers/0/image", "", "template.spec.containers[0].image: Required value"),
    # deployments
    ("deployment", "spec/strategy", {"type": "Odd"}, 'spec.strategy: Unsupported value: {"type":"Odd"}: supported values: "Recreate", "RollingUpdate"'),
    ("deployment", "spec/strategy", {"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
    ("deployment", "spec/strategy", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
    ("deployment", "spec/strategy", {"rollingUpdate": {"maxUnavailable": "200%"}}, 'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "200%": must not be greater than 100%'),
    ("deployment", "spec/strategy", {"rollingUpdate": {"maxSurge": "many"}}, "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": a valid percent string must be a numeric string followed by an ending '%'…"),
    ("deployment", "spec/strategy", {"rollingUpdate": {"maxSurge": -1}}, f"spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: {NEG}"),
    ("deployment", "spec/progressDeadlineSeconds", 0, "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"),
    ("deployment", "spec/progressDeadlineSeconds", -1, f"spec.progressDeadlineSeconds: Invalid value: -1: {NEG}"),
    ("daemonset", "spec/updateStrategy", {"type": "Odd"}, 'spec.updateStrategy: Unsupported value: {"type":"Odd"}: supported values: "RollingUpdate", "OnDelete"'),
    ("daemonset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}, "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
    ("daemonset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}, "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
    ("daemonset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "101%"}}, 'spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%'),
    ("statefulset", "metadata/name", "a.b", 'metadata.name: Invalid value: "a.b": must not contain dots'),
    ("statefulset", "spec/podManagementPolicy", "Odd", "spec.podManagementPolicy: Invalid value: \"Odd\": must be 'OrderedReady' or 'Parallel'"),
    ("statefulset", "spec/updateStrategy", {"type": "Odd"}, "spec.updateStrategy: Invalid value: {\"type\":\"Odd\"}: must be 'RollingUpdate' or 'OnDelete'"),
    ("statefulset", "spec/updateStrategy", {"type": "OnDelete", "rollingUpdate": {}}, "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'"),
    ("statefulset", "spec/updateStrategy", {"rollingUpdate": {"partition": -1}}, f"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NEG}"),
    ("statefulset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": 0}}, "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"),
    ("statefulset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": "101%"}}, 'spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
    ("statefulset", "spec/persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Odd"}, 'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Odd": supported values: "Retain", "Delete"'),
    ("statefulset", "spec/persistentVolumeClaimRetentionPolicy", {"whenScaled": "Odd"}, 'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Odd": supported values: "Retain", "Delete"'),
    ("statefulset", "spec/ordinals", {"start": -1}, f"spec.ordinals.start: Invalid value: -1: {NEG}"),
    ("rc", {"spec/selector": {}, "spec/template/metadata/labels": {}}, None, "spec.selector: Required value"),
    ("rc", "spec/selector", {"a": "z"}, f'spec.template.metadata.labels: Invalid value: {{"a":"b"}}: {STRAY}'),
    ("revision", "data", ..., "data: Required value: data is mandatory"),
    ("revision", "revision", -1, f"revision: Invalid value: -1: {NEG}"),
    # jobs
    *[("job", f"spec/{f}", -1, f"spec.{f}: Invalid value: -1: {NEG}") for f in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")],
    ("indexed", "spec/backoffLimitPerIndex", -1, f"spec.backoffLimitPerIndex: Invalid value: -1: {NEG}"),
    ("indexed", "spec/maxFailedIndexes", -1, f"spec.maxFailedIndexes: Invalid value: -1: {NEG}"),
    ("job", "spec/completionMode", "Odd", 'spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"'),
    ("indexed", "spec/completions", ..., "spec.completions: Required value: when completion mode is Indexed"),
    ("indexed", "spec/parallelism", 100001, "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"),
    ("indexed", "spec/maxFailedIndexes", 6, "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"),
    ("indexed", {"spec/completions": 200000, "spec/maxFailedIndexes": 100001}, None, "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000"),
    ("indexed", "spec/completions", 100001, "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"),
    ("indexed", {"spec/completions": 100001, "spec/maxFailedIndexes": 10001}, None, "spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"),
    ("indexed", {"spec/completions": 100001, "spec/maxFailedIndexes": 1, "spec/parallelism": 10001}, None, "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"),
    ("job", "spec/backoffLimitPerIndex", 1, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
    ("job", {"spec/backoffLimitPerIndex": 1, "spec/maxFailedIndexes": 1}, None, "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"),
    ("indexed", {"spec/backoffLimitPerIndex": ..., "spec/maxFailedIndexes": 1}, None, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
    ("indexed", "metadata/name", "w" * 62, "metadata.name: Invalid value: …: will not able to create pod with invalid DNS label: " + "w" * 62 + "-4"),
    ("job", "spec/managedBy", "odd", 'spec.managedBy: Invalid value: "odd": must be a domain-prefixed path (such as "acme.io/foo")'),
    ("job", "spec/managedBy", "a.b/" + "c" * 60, "spec.managedBy: Too long: may not be more than 63 bytes"),
    ("job", "spec/template/spec/restartPolicy", "Always", 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
    ("job", "spec/template/spec/restartPolicy", "Odd", 'spec.template.spec.restartPolicy: Unsupported value: "Odd": supported values: "OnFailure", "Never"'),
    ("job", "spec/podReplacementPolicy", "Odd", 'spec.podReplacementPolicy: Unsupported value: "Odd": supported values: "Failed", "TerminatingOrFailed"'),
    ("job", {"spec/podReplacementPolicy": "TerminatingOrFailed", "spec/podFailurePolicy": {"rules": []}}, None, 'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"'),
    ("job", {"spec/template/spec/restartPolicy": "OnFailure", "spec/podFailurePolicy": {"rules": []}}, None, 'spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified'),
    ("job", "spec/podFailurePolicy", {"rules": [{"action": "Ignore", **codes()}] * 21}, "spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"),
    ("job", *failing(action="Odd", **codes()), RULE + '.action: Unsupported value: "Odd": supported values: "Count", "FailIndex", "FailJob", "Ignore"'),
    ("job", *failing(action="", **codes()), RULE + '.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'),
    ("job", *failing(action="FailIndex", **codes()), RULE + '.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'),
    ("job", *failing(), f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
    ("job", *failing(onPodConditions=[{"type": "x"}], **codes()), f"{RULE}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
    ("job", *failing(onPodConditions=[{"type": "a b", "status": "True"}]), RULE + '.onPodConditions[0].type: Invalid value: "a b": name part must consist of…'),
    ("job", *failing(onPodConditions=[{"type": "x", "status": "Odd"}]), RULE + '.onPodConditions[0].status: Unsupported value: "Odd": supported values: "False", "True", "Unknown"'),
    ("job", *failing(onPodConditions=[{"type": "x"}] * 21), f"{RULE}.onPodConditions: Too many: 21: must have at most 20 items"),
    ("job", *failing(**codes(operator="Odd")), RULE + '.onExitCodes.operator: Unsupported value: "Odd": supported values: "In", "NotIn"'),
    ("job", *failing(**codes(operator="")), RULE + '.onExitCodes.operator: Required value: valid values: ["In" "NotIn"]'),
    ("job", *failing(**codes(containerName="z")), RULE + '.onExitCodes.containerName: Invalid value: "z": must be one of the container or initContainer names in the pod template'),
    ("job", *failing(**codes(values=[])), f"{RULE}.onExitCodes.values: Invalid value: []: at least one value is required"),
    ("job", *failing(**codes(values=list(range(1, 257)))), f"{RULE}.onExitCodes.values: Too many: 256: must have at most 255 items"),
    ("job", *failing(**codes(values=[2, 1])), f"{RULE}.onExitCodes.values: Invalid value: [2,1]: must be ordered"),
    ("job", *failing(**codes(values=[1, 1])), f"{RULE}.onExitCodes.values[1]: Duplicate value: 1"),
    ("job", *failing(**codes(values=[0])), f"{RULE}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
    ("job", *success(succeededCount=1), "spec.successPolicy: Invalid value: {…: requires indexed completion mode"),
    ("indexed", "spec/successPolicy", {"rules": []}, "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"),
    ("indexed", "spec/successPolicy", {"rules": [{"succeededCount": 1}] * 21}, "spec.successPolicy.rules: Too many: 21: must have at most 20 items"),
    ("indexed", *success(), f"{WON}: Required value: at least one of succeededCount or succeededIndexes must be specified"),
    ("indexed", *success(succeededCount=6), f"{WON}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"),
    ("indexed", *success(succeededCount=3, succeededIndexes="0-1"), f"{WON}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"),
    ("indexed", *success(succeededCount=-1), f"{WON}.succeededCount: Invalid value: -1: {NEG}"),
    *[
        ("indexed", *success(succeededIndexes=t), f'{WON}.succeededIndexes: Invalid value: "{t}": error parsing succeededIndexes: {m}')
        for t, m in (
            ("5", 'too large index: "5"'),
            ("0-5", 'too large index: "5"'),
            ("a", 'cannot convert string to integer for index: "a"'),
            ("2,1", "non-increasing order, previous: 2, current: 1"),
            ("2-1", "non-increasing order, previous: 2, current: 1"),
            ("0-1-2", "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'"),
        )
    ],
    ("job", "spec/selector", {"matchLabels": {"z": "z"}}, f"spec.template.metadata.labels: Invalid value: {{…: {STRAY}"),
    # cron jobs
    ("cronjob", "metadata/name", "c" * 53, 'metadata.name: Invalid value: "' + "c" * 53 + '": must be no more than 52 characters'),
    *[
        ("cronjob", "spec/schedule", t, f'spec.schedule: Invalid value: "{t}": {m}')
        for t, m in (
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
            ("@often", "unrecognized descriptor: @often"),
            ("TZ=UTC * * * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        )
    ],
    ("cronjob", "spec/schedule", "", "spec.schedule: Required value"),
    ("cronjob", "spec/timeZone", "", 'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'),
    ("cronjob", "spec/timeZone", "local", 'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones'),
    ("cronjob", "spec/timeZone", "Mars/Olympus", 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
    ("cronjob", "spec/timeZone", "../etc", 'spec.timeZone: Invalid value: "../etc": unknown time zone ../etc'),
    *[("cronjob", f"spec/{f}", -1, f"spec.{f}: Invalid value: -1: {NEG}") for f in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")],
    ("cronjob", "spec/concurrencyPolicy", "Odd", 'spec.concurrencyPolicy: Unsupported value: "Odd": supported values: "Allow", "Forbid", "Replace"'),
    ("cronjob", "spec/jobTemplate/spec/selector", {"matchLabels": {"a": "b"}}, "spec.jobTemplate.spec.selector: Invalid value: {…: `selector` will be auto-generated"),
    ("cronjob", "spec/jobTemplate/spec/manualSelector", True, 'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"'),
    ("cronjob", "spec/jobTemplate/spec/backoffLimit", -1, f"spec.jobTemplate.spec.backoffLimit: Invalid value: -1: {NEG}"),
]

GOOD = [
    ("deployment", "spec/strategy", {"type": "Recreate"}),
    ("deployment", "spec/strategy", {"rollingUpdate": {"maxUnavailable": "100%", "maxSurge": "300%"}}),
    ("daemonset", "spec/updateStrategy", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "10%"}}),
    ("statefulset", "spec/template/spec/containers/0/volumeMounts", [{"name": "from-a-claim", "mountPath": "/d"}]),
    ("job", {"spec/manualSelector": True, "spec/selector": {"matchLabels": {"a": "b"}}, "spec/template/metadata": {"labels": {"a": "b"}}}, None),
    ("job", "spec/podFailurePolicy", {"rules": [{"action": "Count", "onPodConditions": [{"type": "DisruptionTarget"}]}]}),
    ("indexed", *success(succeededIndexes="0,2-4", succeededCount=4)),
    ("cronjob", "spec/schedule", "0 0 1,15 jan-mar ?"),
    ("cronjob", "spec/schedule", "@every 1h30m"),
    ("cronjob", "spec/timeZone", "Asia/Tokyo"),
    ("cronjob", "metadata/name", "c" * 52),
]


def told(*conditions, **more):
    return {"conditions": [{"type": c, "status": "True"} for c in conditions], **more}


IMMUTABLE = "field is immutable"
DONE = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z"}
MET = ("SuccessCriteriaMet", "Complete")
COUNTED = (
    ("deployment", ("updatedReplicas", "readyReplicas", "availableReplicas")),
    ("replicaset", ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")),
    ("rc", ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")),
    ("statefulset", ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")),
)

UPDATES = [
    *[(k, "spec/selector", {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}, "spec.selector: Invalid value: {…: field is immutable") for k in ("deployment", "replicaset", "daemonset")],
    *[
        ("statefulset", f"spec/{f}", v, "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
        for f, v in (("serviceName", "z"), ("podManagementPolicy", "Parallel"), ("volumeClaimTemplates", [{"metadata": {"name": "d"}, "spec": {}}]))
    ],
    ("revision", "data", {"a": 2}, 'data: Invalid value: {"a":2}: field is immutable'),
    *[("job", f"spec/{f}", v, f"spec.{f}: Invalid value: …: {IMMUTABLE}") for f, v in (("completions", 3), ("completionMode", "Indexed"), ("podFailurePolicy", {"rules": []}), ("managedBy", "a.b/c"), ("selector", {"matchLabels": {"x": "y"}}))],
    ("job", "spec/template/spec/containers/0/image", "z", "spec.template: Invalid value: {…: field is immutable"),
    ("indexed", "spec/completions", 7, "spec.completions: Invalid value: 7: can only be modified in tandem with spec.parallelism"),
    ("indexed", "spec/backoffLimitPerIndex", 2, f"spec.backoffLimitPerIndex: Invalid value: 2: {IMMUTABLE}"),
    *[(k, f"status/{f}", -1, f"status.{f}: Invalid value: -1: {NEG}") for k, fields in COUNTED for f in ("replicas", *fields)],
    *[(k, f"status/{f}", 1, f"status.{f}: Invalid value: 1: cannot be greater than status.replicas") for k, fields in COUNTED for f in fields],
    *[("daemonset", f"status/{f}", -1, f"status.{f}: Invalid value: -1: {NEG}") for f in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "observedGeneration")],
    ("deployment", "status", {"replicas": 2, "availableReplicas": 2, "readyReplicas": 1}, "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas"),
    ("statefulset", "status", {"replicas": 2, "availableReplicas": 2, "readyReplicas": 1}, "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"),
    ("deployment", 'status={"collisionCount": 2} then status', {"collisionCount": 1}, "status.collisionCount: Invalid value: 1: cannot be decremented"),
    # a job's status
    *[("job", f"status/{f}", -1, f"status.{f}: Invalid value: -1: {NEG}") for f in ("active", "succeeded", "failed", "ready", "terminating")],
    ("job", "status", told("Complete", "Failed", **DONE), "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions"),
    ("job", "status", told("Complete", "FailureTarget", **DONE), "status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions"),
    ("job", "status", told("Complete", **DONE), "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
    ("job", "status", told("Failed", startTime=DONE["startTime"]), "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"),
    ("job", "status", told("SuccessCriteriaMet", "FailureTarget"), "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ("job", "status", told("SuccessCriteriaMet", "Failed"), "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("job", "status", told(*MET, startTime=DONE["startTime"]), "status.completionTime: Required value: completionTime is required for Complete jobs"),
    ("job", "status", told(*MET, completionTime=DONE["startTime"]), "status.startTime: Required value: startTime is required for finished job"),
    ("job", "status", told(*MET, startTime=DONE["completionTime"], completionTime=DONE["startTime"]), "status.completionTime: Invalid value: …: completionTime cannot be set before startTime"),
    ("job", "status", told(**DONE), "status.completionTime: Invalid value: …: cannot set completionTime when there is no Complete=True condition"),
    ("job", "status", told(*MET, active=1, **DONE), "status.active: Invalid value: 1: active>0 is invalid for finished job"),
    ("job", "status", told(*MET, terminating=1, **DONE), "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"),
    ("job", "status", told(*MET, uncountedTerminatedPods={"failed": ["x"]}, **DONE), "status.uncountedTerminatedPods: Invalid value: {…: uncountedTerminatedPods needs to be empty for finished job"),
    ("job", "status/uncountedTerminatedPods", {"succeeded": ["a"], "failed": ["a"]}, 'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"'),
    ("job", "status/uncountedTerminatedPods", {"succeeded": [""]}, 'status.uncountedTerminatedPods.succeeded[0]: Invalid value: "": must not be empty'),
    ("job", "status", {"ready": 2, "active": 1}, "status.ready: Invalid value: 2: cannot set more ready pods than active"),
    ("job", "status/completedIndexes", "0", 'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode'),
    ("job", "status/failedIndexes", "", 'status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when backoffLimitPerIndex is null'),
    ("indexed", "status/completedIndexes", "9", 'status.completedIndexes: Invalid value: "9": error parsing completedIndexes: too large index: "9"'),
    ("indexed", "status", {"completedIndexes": "0-2", "failedIndexes": "2"}, 'status.failedIndexes: Invalid value: "2": failedIndexes and completedIndexes overlap at index: 2'),
    *[("job", f'status={{"{f}": 2}} then status', {f: 1}, f"status.{f}: Invalid value: 1: cannot decrease the {f} counter") for f in ("failed", "succeeded")],
    ("job", 'status={"startTime": "2026-01-01T00:00:00Z"} then status', {}, "status.startTime: Required value: startTime cannot be removed for unsuspended job"),
    ("job", 'status={"conditions": [{"type": "FailureTarget", "status": "True"}]} then status', {}, "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition"),
    ("job", 'status={"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]} then status', {}, "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"),
]
