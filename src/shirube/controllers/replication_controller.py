"""ReplicationController: a ReplicaSet of the first days, with a plain map as selector."""

from __future__ import annotations

from shirube.api.gvr import REPLICATIONCONTROLLERS
from shirube.api.selectors import LabelSelector, label_selector_from_set
from shirube.client.rest import Object
from shirube.controllers.replica_set import ReplicaSetController


class ReplicationControllerController(ReplicaSetController):
    name = "replication-controller"
    workers = 1
    gvr = REPLICATIONCONTROLLERS
    kind = "ReplicationController"
    account = "replication-controller"
    tells_terminating = False

    def selector(self, owner: Object) -> LabelSelector:
        return label_selector_from_set(owner["spec"].get("selector"))
