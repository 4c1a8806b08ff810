from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide

PROFILE = Profile.default()


def test_codes_of_labels_and_taints_long_gone_are_forgotten():
    columns = NodeColumns()
    columns.set_node(node("kept", labels={"disk": "ssd"}, taints=[]))
    wanted = info(nodeSelector={"disk": "ssd"})
    assert decide(wanted, columns, Chance(1), PROFILE).node == "kept"
    for i in range(1000):
        taint = {"key": "batch", "value": f"v{i}", "effect": "NoSchedule"}
        columns.set_node(node("passing", labels={"disk": f"d{i}"}, taints=[taint]))
    assert len(columns.label("disk").values) <= 4 * columns.size + 1
    assert len(columns.taint_sets) <= 4 * columns.size + 1
    assert decide(wanted, columns, Chance(1), PROFILE).node == "kept"
    newest = {"key": "batch", "value": "v999", "effect": "NoSchedule"}
    assert decide(info(nodeSelector={"disk": "d999"}), columns, Chance(1), PROFILE).node == ""
    tolerant = info(nodeSelector={"disk": "d999"}, tolerations=[newest])
    assert decide(tolerant, columns, Chance(1), PROFILE).node == "passing"


def test_a_promise_survives_its_nodes_return():
    columns = NodeColumns()
    columns.set_node(node("a", cpu="1"))
    promised = info(cpu="1", priority=5)
    columns.nominate("a", promised)
    columns.remove_node("a")
    assert not columns.promised
    columns.set_node(node("a", cpu="1"))
    assert decide(info(cpu="1"), columns, Chance(1), PROFILE).node == ""
    assert columns.withdraw(promised.uid) == "a"
    assert decide(info(cpu="1"), columns, Chance(1), PROFILE).node == "a"
