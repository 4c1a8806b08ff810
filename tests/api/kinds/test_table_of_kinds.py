"""Every resource has its strategy, every strategy separates status from spec, and every row loads."""

from __future__ import annotations

import pytest

from shirube.api.kinds import KINDS, strategy_of
from shirube.api.kinds.custom_resource import CustomResourceStrategy
from shirube.api.resources import BUILTIN, OPTIONAL, Resource, Subresource
from shirube.api.strategy import Strategy

STORED = [r for r in (*BUILTIN, *OPTIONAL) if not r.virtual]
WITH_STATUS = [r for r in STORED if "status" in r.subresources]


def ids(resources):
    return [f"{r.group_version}/{r.name}" for r in resources]


@pytest.mark.parametrize("resource", STORED, ids=ids(STORED))
def test_every_stored_resource_has_rules_of_its_own(resource):
    strategy = strategy_of(resource)
    assert (resource.group, resource.name) in KINDS
    assert strategy.has_status == ("status" in resource.subresources)
    assert strategy.namespaced == resource.namespaced
    assert strategy_of(resource) is strategy
    assert all(isinstance(v, str) for v in strategy.selectable_fields({"metadata": {}}).values())


@pytest.mark.parametrize("resource", STORED, ids=ids(STORED))
def test_a_strategy_says_that_it_has_steps_that_few_have(resource):
    rules = type(strategy_of(resource))
    assert rules.keeps_times is (rules.stamp is not Strategy.stamp)
    assert rules.keeps_requester is (rules.prepare_for_requester is not Strategy.prepare_for_requester)


def test_no_row_is_left_over():
    assert set(KINDS) == {(r.group, r.name) for r in STORED}


@pytest.mark.parametrize("resource", WITH_STATUS, ids=ids(WITH_STATUS))
def test_an_update_keeps_the_status_and_a_status_update_the_spec(resource):
    strategy = strategy_of(resource)
    old = {"metadata": {"name": "x", "generation": 3}, "spec": {"a": 1}, "status": {"b": 1}}
    if resource.name == "customresourcedefinitions":
        old["spec"] = {"names": {}, "versions": []}
    new = {"metadata": {"name": "x"}, "spec": dict(old["spec"]), "status": {"b": 2}}
    strategy.prepare_for_update(new, old)
    assert new["status"]["b"] == 1
    assert new["metadata"]["generation"] == 3
    told = {"metadata": {"name": "x"}, "spec": {"a": 2}, "status": {"b": 2}}
    strategy.prepare_for_status_update(told, old)
    assert told["spec"] == old["spec"]
    assert told["status"]["b"] == 2
    assert told["metadata"]["generation"] == 3


def widget(**subresources: Subresource) -> Resource:
    from shirube.api.gvr import GVR

    return Resource(
        "example.com",
        "v1",
        "widgets",
        "Widget",
        "widget",
        True,
        ("get", "list", "watch", "create"),
        subresources=subresources,
        storage=GVR("example.com", "v1", "widgets"),
    )


def test_custom_resources_count_generations_outside_metadata():
    plain, split = strategy_of(widget()), strategy_of(widget(status=Subresource("status", "Widget", ("get",))))
    assert isinstance(plain, CustomResourceStrategy)
    old = {"metadata": {"name": "x", "generation": 1}, "data": 1, "status": {"a": 1}}
    for strategy, generation in ((plain, 2), (split, 1)):
        new = {"metadata": {"name": "x"}, "data": 1, "status": {"a": 2}}
        strategy.prepare_for_update(new, old)
        assert new["metadata"]["generation"] == generation
    new = {"metadata": {"name": "x"}, "data": 2, "status": {"a": 1}}
    split.prepare_for_update(new, old)
    assert new["metadata"]["generation"] == 2


def test_the_default_drops_the_status_and_what_nobody_may_set():
    obj = {"metadata": {"name": "x", "generation": 9}, "status": {"a": 1}}
    Strategy(has_status=True).prepare_for_create(obj)
    assert obj == {"metadata": {"name": "x"}}
