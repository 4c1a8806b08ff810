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


def profile(**fields):
    return {"profiles": [fields]}


def args_of(name, **args):
    return profile(pluginConfig=[{"name": name, "args": args}])


def extender(**fields):
    return {"extenders": [{"urlPrefix": "http://x", **fields}]}


RATIO = {"type": "RequestedToCapacityRatio"}
DEFAULTED = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
REFUSED = {
    "podMaxBackoffSeconds: must not be less": {"podInitialBackoffSeconds": 20},
    "podInitialBackoffSeconds: must be at least 1, not 0": {"podInitialBackoffSeconds": 0},
    "percentageOfNodesToScore: must be from 0 to 100, not 101": {"percentageOfNodesToScore": 101},
    "parallelism: must be an integer, not 'many'": {"parallelism": "many"},
    "paralelism: there is no such field; there are apiVersion": {"paralelism": 3},
    "leaderElection.leaseDuration: must be a duration such as 5s or 1m30s, not 15": {
        "leaderElection": {"leaseDuration": 15}
    },
    "leaderElection: leaseDuration must be greater": {"leaderElection": {"leaseDuration": "5s"}},
    "leaderElection.resourceLock: must be": {"leaderElection": {"resourceLock": "endpoints"}},
    "clientConnection.qps: must be a number": {"clientConnection": {"qps": "fast"}},
    "enableProfiling: must be true or false": {"enableProfiling": "yes"},
    "profiles: must be a list, not a dict": {"profiles": {}},
    "profiles\\[0\\]: must not be null": {"profiles": [None]},
    "another profile called default-scheduler": {"profiles": [{}, {}]},
    "there is no plugin called 'Nope'": profile(plugins={"filter": {"enabled": [{"name": "Nope"}]}}),
    "plugins.nowhere: there is no such field": profile(plugins={"nowhere": {}}),
    "enabled\\[0\\].weight: must be at least 0": profile(
        plugins={"score": {"enabled": [{"name": "ImageLocality", "weight": -1}]}}
    ),
    "there is no plugin called '\\*'": profile(plugins={"score": {"enabled": [{"name": "*"}]}}),
    "plugins.queueSort: one plugin is needed": profile(plugins={"queueSort": {"disabled": [{"name": "*"}]}}),
    "plugins.bind: one plugin is needed": profile(plugins={"multiPoint": {"disabled": [{"name": "DefaultBinder"}]}}),
    "'NodeName' takes no arguments": args_of("NodeName"),
    "NodeAffinity is configured twice": profile(pluginConfig=[{"name": "NodeAffinity"}, {"name": "NodeAffinity"}]),
    "args.kind: must be NodeAffinityArgs": args_of("NodeAffinity", kind="OtherArgs"),
    "args.hardPodAffinityWeight: must be from 0 to 100": args_of("InterPodAffinity", hardPodAffinityWeight=101),
    "args.scoringStrategy.type: must be one of": args_of("NodeResourcesFit", scoringStrategy={"type": "Best"}),
    "shape: at least one point": args_of("NodeResourcesFit", scoringStrategy=RATIO),
    "utilization must rise": args_of(
        "NodeResourcesFit",
        scoringStrategy={**RATIO, "requestedToCapacityRatio": {"shape": [{"utilization": 5}, {"utilization": 5}]}},
    ),
    "resources\\[0\\].weight: must be from 1 to 100": args_of(
        "NodeResourcesFit", scoringStrategy={"resources": [{"name": "cpu", "weight": 0}]}
    ),
    "weight: must be from 1 to 1, not 2": args_of(
        "NodeResourcesBalancedAllocation", resources=[{"name": "cpu", "weight": 2}]
    ),
    "volumes are not scored": args_of("VolumeBinding", shape=[{"utilization": 0, "score": 0}]),
    "minCandidateNodesAbsolute": args_of(
        "DefaultPreemption", minCandidateNodesPercentage=0, minCandidateNodesAbsolute=0
    ),
    "bindingTimeout: must be a duration": args_of("DynamicResources", bindingTimeout="long"),
    "defaultConstraints need defaultingType List": args_of("PodTopologySpread", defaultConstraints=[DEFAULTED]),
    "topologyKey: is needed": args_of(
        "PodTopologySpread", defaultingType="List", defaultConstraints=[{**DEFAULTED, "topologyKey": ""}]
    ),
    "labelSelector: must not be set": args_of(
        "PodTopologySpread", defaultingType="List", defaultConstraints=[{**DEFAULTED, "labelSelector": {}}]
    ),
    "there is another one of zone": args_of(
        "PodTopologySpread", defaultingType="List", defaultConstraints=[DEFAULTED, DEFAULTED]
    ),
    "urlPrefix: must be an http": extender(urlPrefix="ftp://x"),
    "weight: must be positive": extender(prioritizeVerb="p"),
    "httpTimeout: must be a duration": extender(httpTimeout="soon"),
    "enableHTTPS: urlPrefix says http": extender(enableHTTPS=True),
    "managedResources\\[0\\].name: must be an extended resource": extender(managedResources=[{"name": "cpu"}]),
    "tlsConfig: cannot use the certificates": extender(urlPrefix="https://x", tlsConfig={"caData": "!"}),
    "only one extender can implement bind": {
        "extenders": [{"urlPrefix": "http://x", "bindVerb": "b"}, {"urlPrefix": "http://y", "bindVerb": "b"}]
    },
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_refused(words):
    with pytest.raises(ConfigurationError, match=words):
        parse({**HEAD, **REFUSED[words]})


@pytest.mark.parametrize("document", [{}, None, [], {**HEAD, "apiVersion": "kubescheduler.config.k8s.io/v1beta3"}])
def test_another_kind_of_file(document):
    with pytest.raises(ConfigurationError, match="must be a KubeSchedulerConfiguration of kubescheduler"):
        parse(document)


def test_every_field_of_a_whole_file(tmp_path):
    path = tmp_path / "scheduler.yaml"
    path.write_text(WHOLE)
    found = load(path)
    assert (found.initial_backoff, found.longest_backoff, str(found.kubeconfig)) == (2, 20, "/etc/scheduler.conf")
    of = found.leadership
    assert (of.elect, of.lease_duration, of.renew_deadline, of.retry_period) == (True, 30, 20.5, 5)
    assert (of.name, of.namespace) == ("mine", "team")
    assert list(found.profiles) == ["first", "second"]
    first, second = found.profiles.values()
    assert (first.candidates_percentage, first.least_candidates) == (5, 7)
    assert (first.volume_seconds, first.device_seconds) == (60, 90)
    assert [p.name for p in first.filters][:2] == ["NodeName", "NodeUnschedulable"]
    assert weights(first) == {"NodeResourcesFit": 5}
    assert not second.preempts
    (one,) = found.extenders
    assert (one.filter_verb, one.prioritize_verb, one.preempt_verb, one.bind_verb) == ("f", "p", "e", "b")
    assert (one.weight, one.seconds, one.names_only, one.ignorable) == (3, 0.25, True, True)
    assert (one.managed, one.ignored) == ({"example.com/a", "example.com/b"}, {"example.com/b"})
    columns = NodeColumns()
    columns.set_node(node("a"))
    wants = info(containers=[{"name": "c", "resources": {"requests": {"example.com/b": "1"}}}])
    assert decide(wants, columns, Chance(1), first).node == "a"  # it is for the extender to say


WHOLE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 16
leaderElection:
  leaderElect: true
  leaseDuration: 30s
  renewDeadline: 20.5s
  retryPeriod: 5s
  resourceLock: leases
  resourceName: mine
  resourceNamespace: team
clientConnection:
  kubeconfig: /etc/scheduler.conf
  acceptContentTypes: ""
  contentType: application/vnd.kubernetes.protobuf
  qps: 50
  burst: 100
enableProfiling: true
enableContentionProfiling: false
percentageOfNodesToScore: 0
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
delayCacheUntilActive: false
profiles:
- schedulerName: first
  percentageOfNodesToScore: 50
  plugins:
    preEnqueue: {enabled: [{name: SchedulingGates}]}
    queueSort: {enabled: [{name: PrioritySort}]}
    preFilter: {enabled: []}
    filter: {disabled: [{name: "*"}], enabled: [{name: NodeName}, {name: NodeUnschedulable}, {name: NodeResourcesFit}]}
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 5}]}
    multiPoint: {enabled: [{name: ImageLocality, weight: 2}]}
    permit: null
  pluginConfig:
  - name: DefaultPreemption
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: DefaultPreemptionArgs
      minCandidateNodesPercentage: 5
      minCandidateNodesAbsolute: 7
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 60}
  - name: DynamicResources
    args: {bindingTimeout: 1m30s, filterTimeout: 5s}
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
- schedulerName: second
  plugins:
    postFilter: {disabled: [{name: DefaultPreemption}]}
extenders:
- urlPrefix: http://127.0.0.1:9/x
  filterVerb: f
  prioritizeVerb: p
  preemptVerb: e
  bindVerb: b
  weight: 3
  enableHTTPS: false
  httpTimeout: 250ms
  nodeCacheCapable: true
  ignorable: true
  managedResources:
  - name: example.com/a
  - {name: example.com/b, ignoredByScheduler: true}
"""


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot read scheduler configuration"):
        load(tmp_path / "none.yaml")
