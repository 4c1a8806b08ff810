import pytest
from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.configuration import ConfigurationError, load, parse
from shirube.scheduler.decide import Profile, decide

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def only_profile(**profile):
    (made,) = parse({**HEAD, "profiles": [profile]}).profiles.values()
    return made


def weights(profile):
    return {plugin.name: weight for plugin, weight in profile.scores}


def test_an_empty_configuration_is_the_default():
    made, default = only_profile(), Profile.default()
    assert weights(made) == weights(default)
    assert [p.name for p in made.filters] == [p.name for p in default.filters]
    assert made.preempts


def test_plugins_off_and_weights():
    made = only_profile(
        schedulerName="mine",
        plugins={
            "filter": {"disabled": [{"name": "TaintToleration"}]},
            "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 7}]},
            "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
        },
    )
    assert made.name == "mine"
    assert weights(made) == {"ImageLocality": 7}
    assert "TaintToleration" not in [p.name for p in made.filters]
    assert not made.preempts


def test_most_allocated_packs_and_added_affinity_confines():
    columns = NodeColumns()
    for name in ("a", "b"):
        columns.set_node(node(name, labels={"pool": name}))
    columns.add_pod("b", info(cpu="2", memory="4Gi"))
    strategy = {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]}
    packs = only_profile(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
    assert decide(info(cpu="1", memory="2Gi"), columns, Chance(1), packs).node == "b"
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["b"]}]}
    added = {"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    confined = only_profile(schedulerName="b-only", pluginConfig=[{"name": "NodeAffinity", "args": added}])
    assert decide(info(), columns, Chance(1), confined).node == "b"
    decision = decide(info(nodeSelector={"pool": "a"}), columns, Chance(1), confined)
    assert decision.message == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) didn't match scheduler-enforced node affinity."
    )


def test_a_ratio_follows_its_shape():
    shape = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "cpu", "weight": 1}],
        "requestedToCapacityRatio": {"shape": shape},
    }
    made = only_profile(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
    columns = NodeColumns()
    columns.set_node(node("a", cpu="4"))
    fit = next(plugin for plugin, _ in made.scores if plugin.name == "NodeResourcesFit")
    assert fit.score(info(cpu="1"), columns, columns.present)[columns.index("a")] == 25


def test_by_ratio_a_resource_without_points_does_not_count():
    shape = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "cpu", "weight": 1}, {"name": "example.com/x", "weight": 3}],
        "requestedToCapacityRatio": {"shape": shape},
    }
    made = only_profile(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
    columns = NodeColumns()
    columns.set_node(node("a", cpu="4"))
    fit = next(plugin for plugin, _ in made.scores if plugin.name == "NodeResourcesFit")
    assert fit.score(info(cpu="2"), columns, columns.present)[columns.index("a")] == 50


def test_default_constraints_of_a_list():
    args = {
        "defaultingType": "List",
        "defaultConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    }
    made = only_profile(pluginConfig=[{"name": "PodTopologySpread", "args": args}])
    columns = NodeColumns()
    for name in ("a", "b"):
        columns.set_node(node(name))
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    columns.around.set_service(service)
    columns.add_pod("a", info(labels={"app": "web"}, cpu="1m"))
    columns.add_pod("b", info(cpu="3", memory="7Gi"))
    assert decide(info(labels={"app": "web"}), columns, Chance(1), made).node == "b"
    assert decide(info(labels={"app": "web"}), columns, Chance(1), Profile.default()).node


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "must be a KubeSchedulerConfiguration"),
        ({**HEAD, "extenders": [{"urlPrefix": "http://x", "bindVerb": "bind"}]}, "bindVerb"),
        ({**HEAD, "extenders": [{"urlPrefix": "ftp://x"}]}, "urlPrefix"),
        ({**HEAD, "extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "p"}]}, "weight"),
        ({**HEAD, "extenders": [{"urlPrefix": "http://x", "httpTimeout": "soon"}]}, "httpTimeout"),
        ({**HEAD, "profiles": [{}, {}]}, "another profile called default-scheduler"),
        ({**HEAD, "profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]}, "no plugin called 'Nope'"),
        ({**HEAD, "profiles": [{"plugins": {"nowhere": {}}}]}, "no such extension point"),
        ({**HEAD, "podInitialBackoffSeconds": 20}, "podInitialBackoffSeconds"),
    ],
)
def test_what_cannot_be_done_is_refused(document, words):
    with pytest.raises(ConfigurationError, match=words):
        parse(document)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot read scheduler configuration"):
        load(tmp_path / "none.yaml")
