"""Stories of devices, for the crash harness: claims made from templates, devices that are tainted under their users."""

from __future__ import annotations

from typing import Any

from tests.simulation.telling import Action, create, delete, patch, step, wait

from shirube.api.gvr import DEPLOYMENTS, DEVICECLASSES, PODS, RESOURCECLAIMTEMPLATES, RESOURCESLICES
from shirube.client.rest import Object
from shirube.simulation import world
from shirube.simulation.crash import Scenario

DRIVER = "gpu.example.com"


def claim_template(**request: Any) -> Object:
    requests = [{"name": "one", "exactly": {"deviceClassName": DRIVER, **request}}]
    return {"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": {"requests": requests}}}}


def with_device(made: Object) -> Object:
    made["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    return made


CLAIMED = Scenario(
    "a pod with a device of its own",
    ("resourceclaim-controller",),
    (
        step(
            create(RESOURCECLAIMTEMPLATES, claim_template()),
            create(PODS, {"metadata": {"name": "device"}, "spec": with_device(world.template({}))["spec"]}),
        ),
        step(delete(PODS, "device")),
    ),
)


def devices(*broken: str) -> Object:
    """Three devices on one node; the broken ones are to be left, and nobody is to come."""
    taint = {"key": "broken", "value": "yes", "effect": "NoExecute"}
    taints = {"taints": [taint, {"key": "unsound", "effect": "NoSchedule"}]}
    names = ("gpu-0", "gpu-1", "gpu-2")
    return {"spec": {"devices": [{"name": name, **(taints if name in broken else {})} for name in names]}}


def resource_slice() -> Object:
    pool = {"name": "node-0", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "node-0", "pool": pool, **devices()["spec"]}
    return {"metadata": {"name": "node-0-gpu"}, "spec": spec}


def user_of_devices() -> Object:
    made = world.deployment("brain", 2)
    with_device(made["spec"]["template"])
    return made


PATIENT = {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20}


def broken(*names: str) -> Action:
    return patch(RESOURCESLICES, "node-0-gpu", devices(*names), None)


CLASS = {
    "metadata": {"name": DRIVER},
    "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
}

TAINTED = Scenario(
    "devices break under their users, who leave at once or after a while",
    ("device-taint-eviction-controller", "resourceclaim-controller"),
    (
        step(
            create(DEVICECLASSES, CLASS, None),
            create(RESOURCESLICES, resource_slice(), None),
            create(RESOURCECLAIMTEMPLATES, claim_template(tolerations=[PATIENT])),
            create(DEPLOYMENTS, user_of_devices()),
        ),
        # Mended before they go; then not.
        step(broken("gpu-0", "gpu-1", "gpu-2"), wait(10), broken()),
        step(broken("gpu-0", "gpu-1", "gpu-2"), wait(30)),
        step(broken()),
        # Who claims from now on leaves at once.
        step(
            delete(DEPLOYMENTS, "brain", propagation_policy="Foreground"),
            wait(5),
            delete(RESOURCECLAIMTEMPLATES, "gpu"),
            create(RESOURCECLAIMTEMPLATES, claim_template()),
            create(DEPLOYMENTS, user_of_devices()),
        ),
        step(broken("gpu-0", "gpu-1")),
        step(broken("gpu-1")),
        step(broken("gpu-0", "gpu-2")),
        step(broken("gpu-1")),
    ),
)
