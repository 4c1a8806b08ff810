"""Pods of one template are judged once, and nobody slips through because somebody else was valid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shirube.api.kinds import pod_judged

TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


def pod(volume: str = "kube-api-access-x2x4z", **more: Any) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "hello:v1",
        "volumeMounts": [{"name": volume, "mountPath": "/var/run/secrets/x"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {
            "containers": [container],
            "serviceAccountName": "default",
            "volumes": [{"name": volume, **TOKEN}],
            **more,
        },
    }


@pytest.fixture
def pods(rules):
    return rules("", "v1", "pods")


def test_the_name_of_the_token_volume_makes_no_difference(pods):
    specs = [pods.stored(pod(name))["spec"] for name in ("kube-api-access-aaaaa", "kube-api-access-bbbbb")]
    first, second = map(pod_judged.likeness, specs)
    assert first == second
    assert pod_judged.warnings_of(first) == []


@pytest.mark.parametrize("name", ["kube-api-access-A_B!c", "kube-api-access-", "kube-api-access-toolong", "other"])
def test_other_names_do(pods, name):
    good = pod_judged.likeness(pods.stored(pod())["spec"])
    assert pod_judged.likeness(pods.create(pod(name))[0]["spec"]) != good


def test_an_invalid_name_is_refused_after_a_valid_one(pods):
    pods.stored(pod())
    _, causes = pods.create(pod("kube-api-access-A_B!c"))
    assert causes


def test_two_volumes_of_one_name_are_refused_after_one(pods):
    pods.stored(pod())
    twice = pod()
    twice["spec"]["volumes"] *= 2
    _, causes = pods.create(twice)
    assert [c.reason for c in causes] == ["FieldValueDuplicate"]


def test_a_mount_of_another_volume_is_refused(pods):
    pods.stored(pod())
    wrong = pod()
    wrong["spec"]["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-zzzzz"
    assert pods.create(wrong)[1]


def test_invalid_specs_are_judged_again(pods):
    wrong = pod(restartPolicy="Perhaps")
    assert pods.create(wrong)[1]
    assert pods.create(wrong)[1]


def test_claims_named_after_the_pod_are_judged_with_its_name(pods):
    spec = {"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}
    assert pod_judged.likeness(spec) is None


def test_every_pod_of_a_template_is_warned(pods):
    odd = pod(terminationGracePeriodSeconds=-1)
    first, second, other = (pods.strategy.review(pods.create(p)[0]) for p in (odd, odd, pod()))
    assert first == second == ([], pods.strategy.warnings(odd))
    assert "terminationGracePeriodSeconds" in first[1][0]
    assert other == ([], [])


def test_what_has_very_many_warnings_is_not_remembered():
    pod_judged.remember(b"{}", ["a warning"] * 1000)
    assert pod_judged.warnings_of(b"{}") is None


def test_few_and_small_ones_are_remembered():
    assert pod_judged.likeness({"hostname": "x" * 20_000}) is None
    before = dict(pod_judged._valid)
    try:
        for i in range(300):
            pod_judged.remember(json.dumps({"hostname": str(i)}).encode(), [])
        assert len(pod_judged._valid) <= 128
    finally:
        pod_judged._valid.clear()
        pod_judged._valid.update(before)


def test_a_stored_spec_is_not_judged_again(pods):
    """What was valid when it was stored stays so: metadata can be changed whatever the rules have become."""
    old = pods.stored(pod())
    old["spec"]["restartPolicy"] = "Perhaps"
    new = json.loads(json.dumps(old))
    new["metadata"]["labels"] = {"a": "b"}
    assert pods.update(new, old)[1] == []


def test_images_may_change_and_nothing_beside_them(pods):
    old = pods.stored(pod())
    new = json.loads(json.dumps(old))
    new["spec"]["containers"][0]["image"] = "hello:v2"
    assert pods.update(new, old)[1] == []
    for image in ("", " hello:v2"):
        new["spec"]["containers"][0]["image"] = image
        assert pods.update(new, old)[1]
    new["spec"]["containers"][0]["image"] = "hello:v2"
    new["spec"]["containers"][0]["workingDir"] = "/"
    assert pods.update(new, old)[1]
    more = json.loads(json.dumps(old))
    more["spec"]["containers"].append(dict(more["spec"]["containers"][0], name="more"))
    assert pods.update(more, old)[1]
    hosted = json.loads(json.dumps(old))
    hosted["spec"]["hostname"] = "a"
    assert pods.update(hosted, old)[1]
