"""The vectors decide as the plain reference does, on random clusters: each filter, each score, and all together."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler import reference
from tests.scheduler.pods import node, pod

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide, feasible, totals
from shirube.scheduler.pod import read

PROFILE = Profile.default()
NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}
EXAMPLES = settings(max_examples=120, deadline=None)


def maybe(strategy):
    return st.none() | strategy


keys = st.sampled_from(["kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"])
small_labels = st.fixed_dictionaries(
    {}, optional={"app": st.sampled_from(["web", "db"]), "rev": st.sampled_from(["1", "2"])}
)
taints = st.builds(
    lambda key, value, effect: {"key": key, "value": value, "effect": effect},
    st.sampled_from(["dedicated", "spot"]),
    st.sampled_from(["", "x"]),
    st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"]),
)
tolerations = st.fixed_dictionaries(
    {"operator": st.sampled_from(["Exists", "Equal"])},
    optional={
        "key": st.sampled_from(["dedicated", "spot", "node.kubernetes.io/unschedulable"]),
        "value": st.sampled_from(["", "x"]),
        "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule"]),
    },
)


@st.composite
def expressions(draw, names, values):
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    one = {"key": draw(st.sampled_from(names)), "operator": operator}
    if operator in ("In", "NotIn"):
        one["values"] = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
    return one


@st.composite
def node_expressions(draw):
    if draw(st.integers(0, 4)) == 0:
        return {"key": "cores", "operator": draw(st.sampled_from(["Gt", "Lt"])), "values": ["4"]}
    return draw(expressions(["disk", "topology.kubernetes.io/zone", "cores"], ["ssd", "hdd", "z1", "z2"]))


node_terms = st.fixed_dictionaries(
    {},
    optional={
        "matchExpressions": st.lists(node_expressions(), max_size=2),
        "matchFields": st.just([{"key": "metadata.name", "operator": "In", "values": ["n1", "n3"]}]),
    },
)
selectors = maybe(
    st.fixed_dictionaries(
        {},
        optional={
            "matchLabels": st.fixed_dictionaries({}, optional={"app": st.sampled_from(["web", "db"])}),
            "matchExpressions": st.lists(expressions(["app", "rev"], ["web", "db", "1"]), max_size=1),
        },
    )
)


@st.composite
def pod_terms(draw):
    term = {"topologyKey": draw(keys), "labelSelector": draw(selectors)}
    if draw(st.integers(0, 3)) == 0:
        term["namespaces"] = draw(st.lists(st.sampled_from(["default", "other"]), unique=True))
    if draw(st.integers(0, 3)) == 0:
        term["namespaceSelector"] = draw(st.sampled_from([{}, {"matchLabels": {"team": "b"}}]))
    if term["labelSelector"] is not None and draw(st.integers(0, 3)) == 0:
        term[draw(st.sampled_from(["matchLabelKeys", "mismatchLabelKeys"]))] = ["rev"]
    return term


weighted = st.builds(lambda w, t: {"weight": w, "podAffinityTerm": t}, st.integers(1, 100), pod_terms())
after = reference.AFTER


@st.composite
def affinities(draw):
    found = {}
    if draw(st.booleans()):
        node_part = {}
        if draw(st.booleans()):
            node_part["required" + after] = {"nodeSelectorTerms": draw(st.lists(node_terms, min_size=1, max_size=2))}
        preferred = st.builds(lambda w, t: {"weight": w, "preference": t}, st.integers(1, 100), node_terms)
        node_part["preferred" + after] = draw(st.lists(preferred, max_size=2))
        found["nodeAffinity"] = node_part
    for kind in ("podAffinity", "podAntiAffinity"):
        if draw(st.integers(0, 2)) == 0:
            found[kind] = {
                "required" + after: draw(st.lists(pod_terms(), max_size=1)),
                "preferred" + after: draw(st.lists(weighted, max_size=2)),
            }
    return found


@st.composite
def spreads(draw):
    constraint = {
        "topologyKey": draw(keys),
        "maxSkew": draw(st.integers(1, 3)),
        "whenUnsatisfiable": draw(st.sampled_from(["DoNotSchedule", "ScheduleAnyway"])),
        "labelSelector": draw(selectors),
    }
    if constraint["whenUnsatisfiable"] == "DoNotSchedule" and draw(st.booleans()):
        constraint["minDomains"] = draw(st.integers(1, 4))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if draw(st.booleans()):
            constraint[field] = draw(st.sampled_from(["Honor", "Ignore"]))
    if constraint["labelSelector"] is not None and draw(st.booleans()):
        constraint["matchLabelKeys"] = ["rev"]
    return constraint


amounts = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(["100m", "1"]),
        "memory": st.sampled_from(["64Mi", "1Gi"]),
        "example.com/x": st.sampled_from(["1", "2"]),
    },
)


@st.composite
def surroundings(draw):
    """What else of a pod's spec asks for resources."""
    spec = {}
    if draw(st.integers(0, 2)) == 0:
        policies = st.sampled_from([{}, {"restartPolicy": "Always"}])
        images = st.sampled_from([{}, {"image": "app"}])
        init = st.builds(
            lambda asked, policy, image: {"name": "i", "resources": {"requests": asked}, **policy, **image},
            amounts,
            policies,
            images,
        )
        spec["initContainers"] = draw(st.lists(init, min_size=1, max_size=3))
    if draw(st.integers(0, 5)) == 0:
        spec["overhead"] = {"cpu": "50m", "memory": "32Mi"}
    if draw(st.integers(0, 5)) == 0:
        spec["resources"] = {"requests": {"cpu": draw(st.sampled_from(["200m", "3"]))}}
    if draw(st.integers(0, 5)) == 0:
        spec["volumes"] = [{"name": "v", "image": {"reference": draw(st.sampled_from(["app:latest", "other"]))}}]
    if draw(st.integers(0, 9)) == 0:
        spec["nodeName"] = draw(st.sampled_from(["n0", "n9"]))
    return spec


@st.composite
def pods(draw):
    requests = {}
    if draw(st.booleans()):
        requests["cpu"] = draw(st.sampled_from(["100m", "500m", "1", "3"]))
    if draw(st.booleans()):
        requests["memory"] = draw(st.sampled_from(["64Mi", "1Gi", "3Gi"]))
    container = {"name": "c", "image": draw(st.sampled_from(["app", "app:2"])), "resources": {"requests": requests}}
    if draw(st.integers(0, 4)) == 0:
        ip = draw(st.sampled_from(["", "10.0.0.1", "10.0.0.2"]))
        container["ports"] = [{"containerPort": 80, "hostPort": draw(st.sampled_from([80, 81])), "hostIP": ip}]
    if draw(st.integers(0, 5)) == 0:
        requests["example.com/x"] = draw(st.sampled_from(["1", "2"]))
    spec = {"affinity": draw(affinities()), **draw(surroundings())}
    if draw(st.integers(0, 2)) == 0:
        spec["topologySpreadConstraints"] = draw(st.lists(spreads(), max_size=2, unique_by=lambda c: c["topologyKey"]))
    if draw(st.integers(0, 3)) == 0:
        spec["nodeSelector"] = {"disk": draw(st.sampled_from(["ssd", "hdd"]))}
    spec["tolerations"] = draw(st.lists(tolerations, max_size=2))
    if draw(st.integers(0, 5)) == 0:
        spec["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    namespace = draw(st.sampled_from(["default", "default", "other"]))
    return pod(labels=draw(small_labels), namespace=namespace, containers=[container], **spec)


@st.composite
def clusters(draw):
    found = []
    for i in range(draw(st.integers(1, 6))):
        have = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "topology.kubernetes.io/zone": st.sampled_from(["z1", "z2"]),
                    "disk": st.sampled_from(["ssd", "hdd"]),
                    "cores": st.sampled_from(["2", "8", "many"]),
                },
            )
        )
        made = node(
            f"n{i}",
            cpu=draw(st.sampled_from(["2", "4", "0"])),
            memory=draw(st.sampled_from(["2Gi", "4Gi"])),
            pods=draw(st.sampled_from(["1", "5", "110"])),
            labels=have,
            taints=draw(st.lists(taints, max_size=2)),
            images=draw(st.sampled_from([[], [{"names": ["app:latest"], "sizeBytes": 400 * 2**20}]])),
        )
        if draw(st.integers(0, 2)) == 0:
            made["status"]["allocatable"]["example.com/x"] = draw(st.sampled_from(["0", "2", "5"]))
        if draw(st.integers(0, 5)) == 0:
            made["spec"]["unschedulable"] = True
        found.append((made, draw(st.lists(pods(), max_size=3))))
    return found


def columns_of(cluster):
    columns = NodeColumns()
    columns.around.namespaces.update(NAMESPACES)
    for made, there in cluster:
        columns.set_node(made)
        for one in there:
            columns.add_pod(made["metadata"]["name"], read(one))
    return columns


def agree(one, cluster, columns):
    """Every filter, every score over the feasible nodes, and the sum."""
    info = read(one)
    fitting = {made["metadata"]["name"] for made, _ in cluster}
    for plugin in PROFILE.filters:
        if plugin.name not in reference.FILTERS:
            assert not plugin.applies(info, columns)
            continue
        mine = set(columns.names())
        if plugin.applies(info, columns):
            mask = plugin.fits(info, columns)
            mine = {name for name in mine if mask[columns.index(name)]}
        theirs = {
            made["metadata"]["name"]
            for made, there in cluster
            if reference.fits(plugin.name, one, made, there, cluster, NAMESPACES)
        }
        assert mine == theirs, plugin.name
        fitting &= theirs
    mask = feasible(info, columns, PROFILE)
    assert {name for name in columns.names() if mask[columns.index(name)]} == fitting
    left = [(made, there) for made, there in cluster if made["metadata"]["name"] in fitting]
    if not left:
        return
    expected = dict.fromkeys(fitting, 0)
    for plugin, weight in PROFILE.scores:
        points = plugin.score(info, columns, mask)
        if plugin.name not in reference.SCORES:
            assert points is None
            continue
        for name, exact in reference.SCORES[plugin.name](one, left, cluster, NAMESPACES).items():
            mine = 0 if points is None else points if isinstance(points, int) else int(points[columns.index(name)])
            if isinstance(exact, Fraction):  # floating point may fall just below a whole number
                assert mine in {int(exact), int(exact + Fraction(1, 10**9)), int(exact - Fraction(1, 10**9))}
                exact = mine
            assert mine == exact, (plugin.name, name)
            expected[name] += weight * exact
    total = totals(info, columns, PROFILE, mask)
    for name, points in expected.items():
        assert (total if isinstance(total, int) else total[columns.index(name)]) == points
    best = max(expected.values())
    assert expected[decide(info, columns, Chance(1), PROFILE).node] == best


@EXAMPLES
@given(clusters(), st.lists(pods(), min_size=1, max_size=3))
def test_each_plugin_and_all_together_say_what_the_reference_says(cluster, incoming):
    columns = columns_of(cluster)
    for one in incoming:
        agree(one, cluster, columns)


@EXAMPLES
@given(clusters(), pods(), st.lists(st.tuples(st.integers(0, 5), pods()), max_size=6), st.data())
def test_answers_follow_every_change(cluster, asked, changes, data):
    """Pods come and go and nodes change between questions: what is remembered must not show."""
    columns = columns_of(cluster)
    agree(asked, cluster, columns)
    for step, (at, one) in enumerate(changes):
        made, there = cluster[at % len(cluster)]
        match step % 3:
            case 0:
                there.append(one)
                columns.add_pod(made["metadata"]["name"], read(one))
            case 1 if there:
                columns.remove_pod(there.pop()["metadata"]["uid"])
            case _:
                value = data.draw(st.sampled_from(["z1", "z2", "z3"]))
                made["metadata"]["labels"]["topology.kubernetes.io/zone"] = value
                made["spec"]["taints"] = data.draw(st.lists(taints, max_size=1))
                columns.set_node(made)
        agree(asked, cluster, columns)
        agree(one, cluster, columns)


@EXAMPLES
@given(clusters(), st.lists(pods(), max_size=8), st.integers(0, 2**32))
def test_what_is_decided_one_after_the_other_breaks_no_rule(cluster, incoming, seed):
    columns, chance = columns_of(cluster), Chance(seed)
    for one in incoming:
        chosen = decide(read(one), columns, chance, PROFILE).node
        if not chosen:
            continue
        made, there = next(c for c in cluster if c[0]["metadata"]["name"] == chosen)
        for name in reference.FILTERS:
            assert reference.fits(name, one, made, there, cluster, NAMESPACES), name
        there.append(one)
        columns.add_pod(chosen, read(one))
    for at in columns.indexes():
        row = columns.rows[at]
        there = next(c[1] for c in cluster if c[0]["metadata"]["name"] == row.name)
        assert len(row.pods) == len(there)
        assert int(columns.requested["cpu"][at]) == sum(reference.requests(p).get("cpu", 0) for p in there)


def test_rows_grow_and_remembered_results_with_them():
    cluster = [(node(f"n{i}"), []) for i in range(60)]
    columns = columns_of(cluster)
    one = pod(cpu="1", labels={"app": "web"})
    agree(one, cluster, columns)
    for i in range(60, 150):
        cluster.append((node(f"n{i}"), [pod(cpu="1")]))
        columns.set_node(cluster[-1][0])
        columns.add_pod(f"n{i}", read(cluster[-1][1][0]))
    agree(one, cluster, columns)
    columns.remove_node("n3")
    agree(one, [c for c in cluster if c[0]["metadata"]["name"] != "n3"], columns)
    assert np.count_nonzero(columns.present) == 149
