import pytest

from shirube.kubelet import qos


def pod(*resources, init=(), **spec):
    containers = [{"name": f"c{i}", "resources": r} for i, r in enumerate(resources)]
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": containers, "initContainers": init, **spec}}


def of(cpu=None, memory=None):
    return {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}


FULL = {"requests": of("1", "1Gi"), "limits": of("1", "1Gi")}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([FULL], "Guaranteed"),
        ([{"limits": of("1", "1Gi")}], "Guaranteed"),
        ([FULL, {}], "Burstable"),
        ([{"requests": of("1")}], "Burstable"),
        ([{"limits": of("1")}], "Burstable"),
        ([{"requests": of("500m", "1Gi"), "limits": of("1", "1Gi")}], "Burstable"),
    ],
)
def test_classes(resources, expected):
    assert qos.qos_class(pod(*resources)) == expected


def test_shares_and_quotas():
    assert [qos.shares(m) for m in (0, 1, 100, 1000, 10**9)] == [2, 2, 102, 1024, 262144]
    assert [qos.quota(m) for m in (0, 1, 500, 2000)] == [0, 1000, 50000, 200000]


def test_a_pods_total_counts_sidecars_and_init_peaks():
    init = [
        {"name": "i", "resources": {"requests": of("3")}},
        {"name": "s", "restartPolicy": "Always", "resources": {"requests": of("1")}},
        {"name": "j", "resources": {"requests": of("1")}},
    ]
    assert qos.pod_total(pod({"requests": of("500m")}, init=init), "requests", "cpu") == 3000
    assert qos.pod_total(pod({"requests": of("4")}, init=init), "requests", "cpu") == 5000
    assert qos.pod_total(pod({"limits": of("1")}, {}), "limits", "cpu") is None
    level = pod({}, resources={"limits": of("2")}, overhead=of("250m"))
    assert qos.pod_total(level, "limits", "cpu") == 2250


def test_oom_scores():
    gib = 1 << 30
    p = pod({"requests": of(None, "4Gi")})
    assert qos.oom_score_adj(p, p["spec"]["containers"][0], 16 * gib) == 750
    assert qos.oom_score_adj(pod(FULL), {"resources": FULL}, 16 * gib) == -997
    assert qos.oom_score_adj(pod({}), {}, 16 * gib) == 1000
