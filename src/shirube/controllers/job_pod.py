"""A Job's pod as its template describes it, with the finalizer that counting relies on, and its index."""

from __future__ import annotations

from shirube.client.rest import Object
from shirube.controllers import job_indexes
from shirube.controllers.job_view import FAILURES, FINALIZER, IGNORED_FAILURES, per_index
from shirube.controllers.pod_control import pod_from_template

_VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_PREFIX = 63 - 5  # what is left of a name once the server has added its suffix


def new_pod(job: Object, index: int | None, failures: tuple[int, int] = (0, 0)) -> Object:
    """`failures` are those of its index so far: (counted, ignored)."""
    pod = pod_from_template(job["spec"]["template"], job, "batch/v1", "Job")
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    if index is None:
        return pod
    name, suffix = f"{job['metadata']['name']}-{index}", f"-{index}-"
    metadata["generateName"] = job["metadata"]["name"][: _LONGEST_PREFIX - len(suffix)] + suffix
    metadata["labels"][job_indexes.ANNOTATION] = str(index)
    annotations = metadata.setdefault("annotations", {})
    annotations[job_indexes.ANNOTATION] = str(index)
    if per_index(job):
        annotations[FAILURES] = str(failures[0])
        if failures[1]:
            annotations[IGNORED_FAILURES] = str(failures[1])
    spec["hostname"] = name[:63]
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [_told(container) for container in spec[group]]
    return pod


def _told(container: Object) -> Object:
    """The container with its index in the environment, unless it sets that itself."""
    variables = list(container.get("env") or ())
    if any(v["name"] == _VARIABLE for v in variables):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{job_indexes.ANNOTATION}']"}}
    return {**container, "env": [*variables, {"name": _VARIABLE, "valueFrom": source}]}
