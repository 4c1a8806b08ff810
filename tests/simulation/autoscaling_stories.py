"""Stories of autoscalers, for the crash harness: with metrics that say what to do, and without."""

from __future__ import annotations

from tests.simulation.telling import Action, create, step, wait

from shirube.api.gvr import DEPLOYMENTS, HORIZONTALPODAUTOSCALERS
from shirube.simulation import world
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Scenario

_CONTROLLER = "horizontal-pod-autoscaler-controller"


def work(cores: float) -> Action:
    async def act(cluster: Cluster) -> None:
        cluster.load.put("default", "web", cores)

    return act


METERED = Scenario(
    "an autoscaler follows the load, up at once and down after a while",
    (_CONTROLLER,),
    (
        step(
            create(DEPLOYMENTS, world.deployment("web", 1, cpu="100m")),
            create(HORIZONTALPODAUTOSCALERS, world.autoscaler("web", 2, 6)),  # fewer are there
            work(0.05),
            wait(60),
        ),
        step(work(0.2), wait(120)),  # four are enough
        step(work(2.0), wait(120)),  # more than six may do
        step(work(0.09), wait(750)),  # two, five minutes later; a successor begins to count anew
    ),
    quiet=40.0,
)

WITHOUT_METRICS = world.autoscaler("web", 2, 4)
WITHOUT_METRICS["spec"]["metrics"] = [
    {
        "type": "Pods",
        "pods": {"metric": {"name": "nobody-knows"}, "target": {"type": "AverageValue", "averageValue": "10"}},
    }
]

BLIND = Scenario(
    "an autoscaler without metrics",
    (_CONTROLLER,),
    (
        step(
            # As many as may be: of those that it has to make first, a successor that sees no metrics cannot say that
            # they were desired, nor can upstream's.
            create(DEPLOYMENTS, world.deployment("web", 3)),
            create(HORIZONTALPODAUTOSCALERS, WITHOUT_METRICS),
            wait(40),
        ),
    ),
    quiet=20.0,
)
