"""Jobs: every way to end."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, refused
from tests.cluster.conformance.objects import condition, container, running, template
from tests.waiting import eventually

INDEX = "batch.kubernetes.io/job-completion-index"
FOREVER = "exec sleep 3600"


@pytest.fixture
def jobs(api, ns):
    return api.at("batch/v1", "jobs", ns)


def job(script: str, parallelism: int = 2, completions: int = 2, restart: str = "Never", **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "e2e", "labels": {"e2e": "job"}},
        "spec": {
            "parallelism": parallelism,
            "completions": completions,
            "backoffLimit": 6,
            "template": template({"own": "label"}, container("c", script), restartPolicy=restart),
            **spec,
        },
    }


def ended(jobs, kind: str = "Complete", seconds: float = 60):
    def done():
        found = jobs.get("e2e")
        said = condition(found, kind)
        return found if said and said["status"] == "True" else None

    return eventually(done, f"the job is {kind}", seconds)


def active(api, ns: str, count: int):
    def found():
        pods = [p for p in api.pods(ns).items("job-name=e2e") if "deletionTimestamp" not in p["metadata"]]
        return pods if sum(map(running, pods)) == count == len(pods) else None

    return eventually(found, f"{count} pods run")


def indexes(api, ns: str, phase: str) -> list[int]:
    pods = api.pods(ns).items("job-name=e2e")
    return sorted(int(p["metadata"]["annotations"][INDEX]) for p in pods if p["status"]["phase"] == phase)


@pytest.mark.conformance(
    "[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]"
)
def test_local_restarts(api, ns, jobs):
    # Fails once in each pod, and finds its own trace after the restart.
    script = "if [ -e /data/foo ]; then exit 0; fi; echo > /data/foo; exit 1"
    made = job(script, restart="OnFailure")
    spec = made["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "data", "emptyDir": {}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    jobs.create(made)
    assert ended(jobs)["status"]["succeeded"] == 2
    pods = api.pods(ns).items("job-name=e2e")
    assert [p["status"]["phase"] for p in pods] == ["Succeeded"] * 2
    assert all(p["status"]["containerStatuses"][0]["restartCount"] == 1 for p in pods)


@pytest.mark.conformance(
    "[sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname [Conformance]"
)
def test_indexed(api, ns, jobs):
    script = '[ "$HOSTNAME" = "e2e-$JOB_COMPLETION_INDEX" ] && echo "index $JOB_COMPLETION_INDEX"'
    jobs.create(job(script, 2, 4, completionMode="Indexed"))
    assert ended(jobs)["status"]["completedIndexes"] == "0-3"
    assert indexes(api, ns, "Succeeded") == [0, 1, 2, 3]
    for one in api.pods(ns).items("job-name=e2e"):
        index, name = one["metadata"]["annotations"][INDEX], one["metadata"]["name"]
        assert one["spec"]["hostname"] == f"e2e-{index}" and one["metadata"]["labels"][INDEX] == index
        assert api.get(f"/api/v1/namespaces/{ns}/pods/{name}/log") == f"index {index}\n"


@pytest.mark.conformance(
    "[sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex [Conformance]"
)
def test_back_off_per_index(api, ns, jobs):
    made = job("exit $((JOB_COMPLETION_INDEX % 2))", 2, 4, completionMode="Indexed", backoffLimitPerIndex=1)
    made["spec"].pop("backoffLimit")
    jobs.create(made)
    status = ended(jobs, "Failed", 90)["status"]
    assert (status["failedIndexes"], status["completedIndexes"]) == ("1,3", "0,2")
    assert (status["failed"], status["succeeded"]) == (4, 2)
    assert condition(jobs.get("e2e"), "Failed")["reason"] == "FailedIndexes"


@pytest.mark.conformance(
    "[sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy "
    "[Conformance]"
)
def test_fail_index(api, ns, jobs):
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    made = job(
        "if [ $JOB_COMPLETION_INDEX = 0 ]; then exit 42; fi",
        2,
        2,
        completionMode="Indexed",
        backoffLimitPerIndex=1,
        podFailurePolicy={"rules": [rule]},
    )
    made["spec"].pop("backoffLimit")
    jobs.create(made)
    status = ended(jobs, "Failed")["status"]
    assert (status["failedIndexes"], status["completedIndexes"]) == ("0", "1")
    assert (status["failed"], status["succeeded"]) == (1, 1)


@pytest.mark.conformance(
    "[sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes "
    "[Conformance]"
)
def test_max_failed_indexes(jobs):
    made = job(
        "if [ $JOB_COMPLETION_INDEX -lt 3 ]; then exit 1; fi; exec sleep 3600",
        10,
        10,
        completionMode="Indexed",
        backoffLimitPerIndex=0,
        maxFailedIndexes=1,
    )
    made["spec"].pop("backoffLimit")
    jobs.create(made)
    found = ended(jobs, "Failed")
    assert condition(found, "Failed")["reason"] == "MaxFailedIndexesExceeded"
    # No pod that still ran is left to run on.
    eventually(lambda: not jobs.get("e2e")["status"].get("active"), "nothing is active")
    assert not jobs.get("e2e")["status"].get("succeeded")


def exit_code_policy(action: str, code: int):
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [code]}}]}


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early [Conformance]"
)
def test_fail_job(jobs):
    # Without the policy it would go on: one index would fail again and again, up to the limit.
    script = "if [ $JOB_COMPLETION_INDEX = 0 ]; then exit 1; fi; exec sleep 3600"
    made = job(script, 2, 4, completionMode="Indexed", podFailurePolicy=exit_code_policy("FailJob", 1))
    jobs.create(made)
    assert condition(ended(jobs, "Failed"), "Failed")["reason"] == "PodFailurePolicy"


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition "
    "[Conformance]"
)
def test_ignore_disruption(cluster, api, ns, jobs):
    # Each index leaves a mark on the node and runs until it is evicted; when it comes again it finds the mark.
    script = (
        "if [ -e /host/$JOB_COMPLETION_INDEX ]; then exit 0; fi; "
        'echo > /host/$JOB_COMPLETION_INDEX; trap "exit 1" TERM; while true; do sleep 0.1; done'
    )
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    made = job(script, 2, 3, completionMode="Indexed", podFailurePolicy={"rules": [rule]}, backoffLimit=0)
    spec = made["spec"]["template"]["spec"]
    spec["securityContext"] = {"runAsUser": 0}
    # Under the cluster's own home: marks that an earlier session left elsewhere would end every pod at once.
    marks = {"path": f"{cluster.home}/{ns}", "type": "DirectoryOrCreate"}
    spec["volumes"] = [{"name": "host", "hostPath": marks}]
    spec["containers"][0]["volumeMounts"] = [{"name": "host", "mountPath": "/host"}]
    spec["containers"][0]["readinessProbe"] = {
        "exec": {"command": ["/bin/sh", "-c", "ls /host/$JOB_COMPLETION_INDEX"]},
        "periodSeconds": 1,
    }
    jobs.create(made)
    pods, evicted = api.pods(ns), set()

    def evict_the_next() -> bool:
        for one in pods.items("job-name=e2e"):
            name, index = one["metadata"]["name"], one["metadata"]["annotations"][INDEX]
            if index in evicted or condition(one, "Ready") is None or condition(one, "Ready")["status"] != "True":
                continue
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": ns}}
            api.ask("POST", f"{pods.path}/{name}/eviction", eviction)
            evicted.add(index)
        return len(evicted) == 3

    eventually(evict_the_next, "each index was evicted once", 60)
    status = ended(jobs)["status"]
    assert status["succeeded"] == 3 and not status.get("failed")


def success_policy(jobs, rules, script: str, completions: int = 2, parallelism: int = 2):
    made = job(script, parallelism, completions, completionMode="Indexed", successPolicy={"rules": rules})
    jobs.create(made)
    found = ended(jobs)
    assert condition(found, "SuccessCriteriaMet")["reason"] == "SuccessPolicy"
    assert condition(found, "Complete")["reason"] == "SuccessPolicy"
    return found["status"]


@pytest.mark.conformance("[sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]")
def test_success_policy_all(jobs):
    status = success_policy(jobs, [{"succeededIndexes": "0-1"}], "exit 0")
    assert status["completedIndexes"] == "0,1"


@pytest.mark.conformance(
    "[sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending "
    "[Conformance]"
)
def test_success_policy_indexes(jobs):
    script = "if [ $JOB_COMPLETION_INDEX = 0 ]; then exit 0; fi; exec sleep 3600"
    status = success_policy(jobs, [{"succeededIndexes": "0"}], script)
    assert status["completedIndexes"] == "0" and not status.get("active")


@pytest.mark.conformance(
    "[sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending "
    "[Conformance]"
)
def test_success_policy_count(jobs):
    script = "if [ $JOB_COMPLETION_INDEX = 1 ]; then exit 0; fi; exec sleep 3600"
    status = success_policy(jobs, [{"succeededCount": 1}], script, 5)
    assert status["succeeded"] == 1 and not status.get("active")


@pytest.mark.conformance("[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]")
def test_adopt_and_release(api, ns, jobs):
    made = jobs.create(job(FOREVER))
    pods = api.pods(ns)
    name = active(api, ns, 2)[0]["metadata"]["name"]

    def owned() -> bool:
        uids = [r["uid"] for r in pods.get(name)["metadata"].get("ownerReferences", [])]
        return uids == [made["metadata"]["uid"]]

    assert owned()
    pods.patch(name, {"metadata": {"ownerReferences": None}})
    eventually(owned, "the orphan is adopted")
    pods.patch(name, {"metadata": {"labels": None}})
    eventually(lambda: not pods.get(name)["metadata"].get("ownerReferences"), "it is released")
    pods.delete(name, gracePeriodSeconds=0)


@pytest.mark.conformance("[sig-apps] Job should delete a job [Conformance]")
def test_delete(api, ns, jobs):
    jobs.create(job(FOREVER))
    active(api, ns, 2)
    jobs.delete("e2e", propagationPolicy="Foreground")
    eventually(lambda: jobs.find("e2e") is None, "the job is gone")
    assert api.pods(ns).items("job-name=e2e") == []


@pytest.mark.conformance("[sig-apps] Job should apply changes to a job status [Conformance]")
def test_status(api, ns, jobs):
    jobs.create(job(FOREVER))
    active(api, ns, 2)
    annotated = {"metadata": {"annotations": {"patchedstatus": "true"}}}
    patched = jobs.patch("e2e", annotated, MERGE, "status")
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = jobs.edit("e2e", lambda o: o["status"].setdefault("conditions", []).append(more), "status")
    assert condition(updated, "StatusUpdate")["reason"] == "E2E"
    assert condition(jobs.get("e2e", "status"), "StatusUpdate")["status"] == "True"


@pytest.mark.conformance("[sig-apps] Job should manage the lifecycle of a job [Conformance]")
def test_lifecycle(api, ns, jobs):
    made = job(FOREVER, suspend=True)
    made["metadata"]["labels"] = {"e2e-job": ns}
    jobs.create(made)
    eventually(lambda: (condition(jobs.get("e2e"), "Suspended") or {}).get("status") == "True", "it is suspended")
    assert api.pods(ns).items("job-name=e2e") == []
    assert jobs.patch("e2e", {"metadata": {"labels": {"e2e": "patched"}}})["metadata"]["labels"]["e2e"] == "patched"

    def resume(obj) -> None:
        obj["metadata"].setdefault("annotations", {})["updated"] = "true"
        obj["spec"]["suspend"] = False

    replaced = jobs.edit("e2e", resume)
    assert replaced["metadata"]["annotations"]["updated"] == "true"
    active(api, ns, 2)
    assert [j["metadata"]["name"] for j in jobs.everywhere().items(f"e2e-job={ns}")] == ["e2e"]
    jobs.delete_all(f"e2e-job={ns}", propagationPolicy="Foreground")
    eventually(lambda: jobs.everywhere().items(f"e2e-job={ns}") == [], "the jobs are gone")
    with refused(404, "NotFound"):
        jobs.get("e2e")
