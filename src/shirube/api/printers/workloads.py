"""Rows of workloads: how many replicas there should be, and how many are."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import (
    NONE,
    bool_text,
    containers_text,
    labels_text,
    selector_text,
    template_text,
)
from shirube.api.printers.column import AGE, CONTAINERS, IMAGES, NAME, SELECTOR, Column, Obj, Printer, integer
from shirube.api.printers.duration import age, human_duration, since
from shirube.foundation.clock import parse_rfc3339

_READY_OF = Column("Ready", "How many pods are ready, of how many asked for.")
_DESIRED = integer("Desired", "How many pods are asked for.")
_CURRENT = integer("Current", "How many pods there are.")
_READY = integer("Ready", "How many pods are ready.")
_UP_TO_DATE = "How many pods have the newest template."
_AVAILABLE = "How many pods have been ready long enough."


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _parts(obj: Obj) -> tuple[Obj, Obj]:
    return obj.get("spec") or {}, obj.get("status") or {}


def _deployment(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *template_text(obj),
        selector_text(spec.get("selector")),
    ]


def _replicas(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [_name(obj), *counts, age(obj, now), *template_text(obj)]


def _replica_set(obj: Obj, now: float) -> list[Any]:
    return [*_replicas(obj, now), selector_text((obj.get("spec") or {}).get("selector"))]


def _replication_controller(obj: Obj, now: float) -> list[Any]:
    return [*_replicas(obj, now), labels_text((obj.get("spec") or {}).get("selector"))]


def _stateful_set(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [_name(obj), ready, age(obj, now), *template_text(obj)]


def _daemon_set(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    counted = (
        "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
        "numberAvailable",
    )  # fmt: skip
    nodes = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
    return [
        _name(obj),
        *(status.get(field, 0) for field in counted),
        labels_text(nodes),
        age(obj, now),
        *template_text(obj),
        selector_text(spec.get("selector")),
    ]


# the first that holds says how the job is
_JOB_STATES = ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")


def _job_state(obj: Obj) -> str:
    held = {c.get("type") for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    for state in _JOB_STATES:
        if state == "Suspended" and obj["metadata"].get("deletionTimestamp"):
            return "Terminating"
        if state in held:
            return state
    return "Running"


def _job(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    done, parallelism = status.get("succeeded", 0), spec.get("parallelism", 1)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    duration = ""
    if started := status.get("startTime"):
        ended = status.get("completionTime")
        duration = human_duration((parse_rfc3339(ended) if ended else now) - parse_rfc3339(started))
    return [
        _name(obj),
        _job_state(obj),
        completions,
        duration,
        age(obj, now),
        *template_text(obj),
        selector_text(spec.get("selector")),
    ]


def _cron_job(obj: Obj, now: float) -> list[Any]:
    spec, status = _parts(obj)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        bool_text(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers_text((job.get("template") or {}).get("spec")),
        selector_text(job.get("selector")),
    ]


def _controller_revision(obj: Obj, now: float) -> list[Any]:
    owner = next((r for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        controller = f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"
    return [_name(obj), controller, obj.get("revision", 0), age(obj, now)]


_TEMPLATE = (CONTAINERS, IMAGES, SELECTOR)

PRINTERS = {
    ("", "replicationcontrollers"): Printer(
        (NAME, _DESIRED, _CURRENT, _READY, AGE, *_TEMPLATE), _replication_controller
    ),
    ("apps", "controllerrevisions"): Printer(
        (
            NAME,
            Column("Controller", "What the revision belongs to."),
            Column("Revision", "Number of the revision; higher is newer."),
            AGE,
        ),
        _controller_revision,
    ),
    ("apps", "daemonsets"): Printer(
        (
            NAME,
            integer("Desired", "How many nodes should run a pod."),
            integer("Current", "How many nodes run one."),
            integer("Ready", "On how many nodes it is ready."),
            integer("Up-to-date", _UP_TO_DATE),
            integer("Available", _AVAILABLE),
            Column("Node Selector", "Which nodes are meant."),
            AGE,
            *_TEMPLATE,
        ),
        _daemon_set,
    ),
    ("apps", "deployments"): Printer(
        (NAME, _READY_OF, Column("Up-to-date", _UP_TO_DATE), Column("Available", _AVAILABLE), AGE, *_TEMPLATE),
        _deployment,
    ),
    ("apps", "replicasets"): Printer((NAME, _DESIRED, _CURRENT, _READY, AGE, *_TEMPLATE), _replica_set),
    ("apps", "statefulsets"): Printer((NAME, _READY_OF, AGE, CONTAINERS, IMAGES), _stateful_set),
    ("batch", "cronjobs"): Printer(
        (
            NAME,
            Column("Schedule", "When jobs are started, in cron's form."),
            Column("Timezone", "Time zone of the schedule."),
            Column("Suspend", "Whether starting is suspended.", "boolean"),
            integer("Active", "How many jobs run now."),
            Column("Last Schedule", "Time since a job was last started."),
            AGE,
            *_TEMPLATE,
        ),
        _cron_job,
    ),
    ("batch", "jobs"): Printer(
        (
            NAME,
            Column("Status", "What the job is doing."),
            Column("Completions", "How many pods have succeeded, of how many."),
            Column("Duration", "How long the job ran, or has been running."),
            AGE,
            *_TEMPLATE,
        ),
        _job,
    ),
}
