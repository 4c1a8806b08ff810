"""Workloads: defaults, selectors that match templates, what is immutable, counts in the status."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
SPEC = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
OBJ = {"metadata": {"name": "w"}, "spec": SPEC}
RUN_ONCE = {"spec": {"containers": [{"name": "c", "image": "i:1"}], "restartPolicy": "Never"}}
JOB = {"metadata": {"name": "j"}, "spec": {"template": RUN_ONCE}}
CRON = {"metadata": {"name": "c"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": RUN_ONCE}}}}
RC = {"metadata": {"name": "rc"}, "spec": {"template": TEMPLATE}}

RESOURCES = {
    "deployment": (("apps", "v1", "deployments"), OBJ),
    "replicaset": (("apps", "v1", "replicasets"), OBJ),
    "statefulset": (("apps", "v1", "statefulsets"), OBJ),
    "daemonset": (("apps", "v1", "daemonsets"), OBJ),
    "job": (("batch", "v1", "jobs"), JOB),
    "cronjob": (("batch", "v1", "cronjobs"), CRON),
    "rc": (("", "v1", "replicationcontrollers"), RC),
    "podtemplate": (("", "v1", "podtemplates"), {"metadata": {"name": "t"}, "template": TEMPLATE}),
    "revision": (("apps", "v1", "controllerrevisions"), {"metadata": {"name": "r"}, "revision": 1, "data": {"a": 1}}),
}

DEFAULTS = [
    ("deployment", "replicas", 1),
    (
        "deployment",
        "strategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    ),
    ("deployment", "revisionHistoryLimit", 10),
    ("deployment", "progressDeadlineSeconds", 600),
    ("replicaset", "replicas", 1),
    ("rc", "replicas", 1),
    ("rc", "selector", {"app": "a"}),
    ("statefulset", "podManagementPolicy", "OrderedReady"),
    ("statefulset", "updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
    ("statefulset", "persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}),
    ("daemonset", "updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
    ("job", "completions", 1),
    ("job", "parallelism", 1),
    ("job", "backoffLimit", 6),
    ("job", "completionMode", "NonIndexed"),
    ("job", "suspend", False),
    ("job", "podReplacementPolicy", "TerminatingOrFailed"),
    ("cronjob", "concurrencyPolicy", "Allow"),
    ("cronjob", "suspend", False),
    ("cronjob", "successfulJobsHistoryLimit", 3),
    ("cronjob", "failedJobsHistoryLimit", 1),
]


@pytest.mark.parametrize(("kind", "field", "value"), DEFAULTS)
def test_defaults(rules, kind, field, value):
    resource, obj = RESOURCES[kind]
    assert rules(*resource).stored(obj)["spec"][field] == value


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("deployment", {}),
        ("replicaset", {"replicas": 0}),
        ("statefulset", {"replicas": 0, "availableReplicas": 0}),
        ("cronjob", {}),
    ],
)
def test_status_begins_empty_and_generation_at_one(rules, altered, kind, status):
    resource, obj = RESOURCES[kind]
    stored = rules(*resource).stored(altered(obj, "status", {"replicas": 99}))
    assert stored["status"] == status
    assert stored["metadata"]["generation"] == 1


T = "spec.template"
BAD = [
    ("deployment", "spec/selector", ..., "spec.selector", "Required value"),
    ("deployment", "spec/selector", {}, "spec.selector", "empty selector is invalid for deployment"),
    ("deployment", "spec/selector/matchLabels/app", "b", f"{T}.metadata.labels", "`selector` does not match template `labels`"),
    ("deployment", "spec/selector/matchExpressions", [{"key": "a", "operator": "In"}], "spec.selector.matchExpressions[0].values", "must be specified when `operator` is 'In' or 'NotIn'"),
    ("deployment", "spec/selector/matchExpressions", [{"key": "a", "operator": "Like"}], "spec.selector.matchExpressions[0].operator", "not a valid selector operator"),
    ("deployment", "spec/replicas", -1, "spec.replicas", "must be greater than or equal to 0"),
    ("deployment", "spec/minReadySeconds", 600, "spec.progressDeadlineSeconds", "must be greater than minReadySeconds"),
    ("deployment", "spec/template/spec/restartPolicy", "Never", f"{T}.spec.restartPolicy", 'Unsupported value: "Never": supported values: "Always"'),
    ("deployment", "spec/template/spec/activeDeadlineSeconds", 1, f"{T}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"),
    ("deployment", "spec/template/spec/containers/0/image", "", f"{T}.spec.containers[0].image", "Required value"),
    ("deployment", "spec/template/metadata/labels/a b", "c", f"{T}.labels", "name part must consist of"),
    ("deployment", "spec/strategy", {"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"),
    ("deployment", "spec/strategy", {"type": "Shuffle"}, "spec.strategy", "Unsupported value"),
    ("deployment", "spec/strategy/rollingUpdate", {"maxUnavailable": 0, "maxSurge": 0}, "spec.strategy.rollingUpdate.maxUnavailable", "may not be 0 when `maxSurge` is 0"),
    ("deployment", "spec/strategy/rollingUpdate", {"maxUnavailable": "101%"}, "spec.strategy.rollingUpdate.maxUnavailable", "must not be greater than 100%"),
    ("deployment", "spec/strategy/rollingUpdate", {"maxSurge": "x"}, "spec.strategy.rollingUpdate.maxSurge", "a valid percent string"),
    ("deployment", "metadata/name", "Bad_Name", "metadata.name", "a lowercase RFC 1123 subdomain"),
    ("replicaset", "spec/selector", ..., "spec.selector", "Required value"),
    ("replicaset", "spec/template/spec/restartPolicy", "OnFailure", f"{T}.spec.restartPolicy", "Unsupported value"),
    ("rc", "spec/selector", {"app": "b"}, f"{T}.metadata.labels", "`selector` does not match template `labels`"),
    ("statefulset", "spec/podManagementPolicy", "x", "spec.podManagementPolicy", "must be 'OrderedReady' or 'Parallel'"),
    ("statefulset", "spec/updateStrategy", {"type": "x"}, "spec.updateStrategy", "must be 'RollingUpdate' or 'OnDelete'"),
    ("statefulset", "spec/updateStrategy", {"type": "OnDelete", "rollingUpdate": {}}, "spec.updateStrategy.rollingUpdate", "only allowed for updateStrategy 'RollingUpdate'"),
    ("statefulset", "metadata/name", "a.b", "metadata.name", "must not contain dots"),
    ("daemonset", "spec/updateStrategy/rollingUpdate", {"maxUnavailable": 0}, "spec.updateStrategy.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"),
    ("daemonset", "spec/updateStrategy/rollingUpdate", {"maxUnavailable": 1, "maxSurge": 1}, "spec.updateStrategy.rollingUpdate.maxSurge", "may not be set when maxUnavailable is non-zero"),
    ("daemonset", "spec/selector", {}, "spec.selector", "empty selector is invalid for daemonset"),
    ("job", "spec/template/spec/restartPolicy", "Always", f"{T}.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'),
    ("job", "spec/completionMode", "x", "spec.completionMode", "Unsupported value"),
    ("job", "spec/parallelism", -1, "spec.parallelism", "must be greater than or equal to 0"),
    ("job", "spec/backoffLimitPerIndex", 1, "spec.backoffLimitPerIndex", "requires indexed completion mode"),
    ("job", "spec/podFailurePolicy", {"rules": [{"action": "Count"}]}, "spec.podFailurePolicy.rules[0]", "specifying one of OnExitCodes and OnPodConditions is required"),
    ("job", "spec/podFailurePolicy", {"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [0]}}]}, "spec.podFailurePolicy.rules[0].onExitCodes.values[0]", "must not be 0 for the In operator"),
    ("cronjob", "spec/schedule", "", "spec.schedule", "Required value"),
    ("cronjob", "spec/schedule", "* * * *", "spec.schedule", "expected exactly 5 fields, found 4"),
    ("cronjob", "spec/schedule", "61 * * * *", "spec.schedule", "end of range (61) above maximum (59)"),
    ("cronjob", "spec/schedule", "TZ=UTC * * * * *", "spec.schedule", "cannot use TZ or CRON_TZ in schedule"),
    ("cronjob", "spec/timeZone", "Mars/North", "spec.timeZone", "unknown time zone Mars/North"),
    ("cronjob", "spec/concurrencyPolicy", "x", "spec.concurrencyPolicy", "Unsupported value"),
    ("cronjob", "metadata/name", "a" * 53, "metadata.name", "must be no more than 52 characters"),
    ("cronjob", "spec/jobTemplate/spec/manualSelector", True, "spec.jobTemplate.spec.manualSelector", "Unsupported value"),
    ("podtemplate", "template/spec/containers", [], "template.spec.containers", "Required value"),
    ("revision", "data", ..., "data", "data is mandatory"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value", "field", "message"), BAD, ids=[f"{b[0]}-{i}-{b[3]}" for i, b in enumerate(BAD)]
)
def test_what_is_refused(rules, altered, assert_cause, kind, path, value, field, message):
    resource, obj = RESOURCES[kind]
    assert_cause(rules(*resource).create(altered(obj, path, value))[1], field, message)


IMMUTABLE = [
    ("deployment", "spec/selector", {"matchLabels": {"app": "a", "x": "y"}}, "spec.selector", "field is immutable"),
    ("replicaset", "spec/selector", {"matchExpressions": []}, "spec.selector", "field is immutable"),
    ("daemonset", "spec/selector", {"matchLabels": {"x": "y"}}, "spec.selector", "field is immutable"),
    (
        "statefulset",
        "spec/serviceName",
        "other",
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals'",
    ),
    ("statefulset", "spec/podManagementPolicy", "Parallel", "spec", "are forbidden"),
    ("job", "spec/completions", 5, "spec.completions", "field is immutable"),
    ("job", "spec/template/spec/containers/0/image", "other", "spec.template", "field is immutable"),
    ("job", "spec/completionMode", "Indexed", "spec.completionMode", "field is immutable"),
    ("revision", "data", {"a": 2}, "data", "field is immutable"),
]


@pytest.mark.parametrize(("kind", "path", "value", "field", "message"), IMMUTABLE)
def test_what_may_not_change(rules, altered, assert_cause, kind, path, value, field, message):
    resource, obj = RESOURCES[kind]
    strategy = rules(*resource)
    old = strategy.stored(obj)
    assert_cause(strategy.update(altered(old, path, value), old)[1], field, message)


NEAR = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "a"}}]}
NODE = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
SUSPENDED = {"conditions": [{"type": "Suspended", "status": "True"}]}
STARTED = {"startTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("status", "path", "value", "allowed"),
    [
        ({}, "nodeSelector", {"a": "b"}, True),
        ({}, "containers/0/resources", {"requests": {"cpu": "2"}}, True),
        ({}, "affinity", {"nodeAffinity": NODE}, True),
        ({}, "affinity", {"podAffinity": NEAR}, False),
        ({}, "containers/0/image", "other", False),
        (STARTED, "nodeSelector", {"a": "b"}, False),
        ({**STARTED, **SUSPENDED}, "nodeSelector", {"a": "b"}, True),
        ({**SUSPENDED, "active": 1}, "nodeSelector", {"a": "b"}, False),
    ],
)
def test_what_may_change_in_a_suspended_jobs_template(rules, altered, status, path, value, allowed):
    resource, obj = RESOURCES["job"]
    strategy = rules(*resource)
    old = strategy.stored(altered(altered(obj, "spec/suspend", True), "status", status))
    old["status"] = status
    causes = strategy.update(altered(old, f"spec/template/spec/{path}", value), old)[1]
    assert any(c.field == "spec.template" for c in causes) is not allowed, causes


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("deployment", "spec/replicas", 3),
        ("deployment", "metadata/annotations", {"a": "b"}),
        ("statefulset", "spec/template/spec/containers/0/image", "i:2"),
        ("daemonset", "spec/template/spec/containers/0/image", "i:2"),
        ("job", "spec/parallelism", 3),
        ("cronjob", "spec/schedule", "@hourly"),
    ],
)
def test_a_change_is_a_new_generation(rules, altered, kind, path, value):
    resource, obj = RESOURCES[kind]
    strategy = rules(*resource)
    old = strategy.stored(obj)
    new, causes = strategy.update(altered(old, path, value), old)
    assert causes == []
    assert new["metadata"]["generation"] == 2
    same, causes = strategy.update(altered(old, "metadata/labels/x", "y"), old)
    assert causes == []
    assert same["metadata"]["generation"] == 1


def test_a_daemon_set_numbers_its_templates(rules, altered):
    strategy = rules("apps", "v1", "daemonsets")
    old = strategy.stored(OBJ)
    key = "deprecated.daemonset.template.generation"
    assert old["metadata"]["annotations"][key] == "1"
    new, _ = strategy.update(altered(old, "spec/template/spec/containers/0/image", "i:2"), old)
    assert new["metadata"]["annotations"][key] == "2"
    same, _ = strategy.update(altered(new, "spec/minReadySeconds", 5), new)
    assert same["metadata"]["annotations"][key] == "2"


def test_a_job_selects_its_pods_by_its_uid(rules):
    job = rules("batch", "v1", "jobs").stored(JOB)
    uid = job["metadata"]["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert job["spec"]["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid,
        "job-name": "j",
    }


def test_a_suspended_job_may_be_placed_otherwise(rules, altered, assert_cause):
    strategy = rules("batch", "v1", "jobs")
    old = strategy.stored(altered(JOB, "spec/suspend", True))
    moved = altered(old, "spec/template/spec/nodeSelector", {"a": "b"})
    assert strategy.update(moved, old)[1] == []
    started = altered(old, "status/startTime", "2026-01-01T00:00:00Z")
    assert_cause(strategy.update(moved, started)[1], "spec.template", "field is immutable")


def test_counts_of_replicas_fit_together(rules, altered, assert_cause):
    strategy = rules("apps", "v1", "deployments")
    old = strategy.stored(OBJ)
    new, causes = strategy.update(altered(old, "status", {"replicas": 1, "readyReplicas": 2}), old, "status_")
    assert_cause(causes, "status.readyReplicas", "cannot be greater than status.replicas")
    assert new["spec"] == old["spec"]
    causes = strategy.update(altered(old, "status", {"replicas": 2, "availableReplicas": 2}), old, "status_")[1]
    assert_cause(causes, "status.availableReplicas", "cannot be greater than readyReplicas")
    counted = altered(old, "status/collisionCount", 2)
    causes = strategy.update(altered(old, "status/collisionCount", 1), counted, "status_")[1]
    assert_cause(causes, "status.collisionCount", "cannot be decremented")


def test_claims_of_a_stateful_set_are_defaulted(rules, altered):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    }
    spec = rules("apps", "v1", "statefulsets").stored(altered(OBJ, "spec/volumeClaimTemplates", [claim]))["spec"]
    stored = spec["volumeClaimTemplates"][0]
    assert (stored["kind"], stored["status"]) == ("PersistentVolumeClaim", {"phase": "Pending"})
    assert stored["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert stored["spec"]["volumeMode"] == "Filesystem"
