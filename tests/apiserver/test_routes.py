"""The route table: every row is authorised, every verb that discovery names is served, the rest is refused."""

from __future__ import annotations

import pytest

from shirube.apiserver import routes
from shirube.apiserver.authorization import Decision
from shirube.apiserver.user import User

METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
ALWAYS = {"/healthz", "/livez", "/readyz"}


def url(resource, verb: str, subresource: str = "") -> str:
    named = verb in ("get", "update", "patch", "delete") or subresource
    path = resource.gvr.path("default" if resource.namespaced else None, "x" if named else None, subresource or None)
    return path + ("?watch=true" if verb == "watch" else "")


def every_resource_route(table):
    for resource in table:
        for verb in resource.verbs:
            yield resource, "", verb
        for sub in resource.subresources.values():
            for verb in sub.verbs:
                yield resource, sub.name, verb


class Denier:
    """Refuses everything, and remembers what it was asked."""

    def __init__(self, real) -> None:
        self.refusal = real.refusal
        self.asked = []

    async def authorize(self, attributes):
        self.asked.append(attributes)
        return Decision(False, "no")


@pytest.fixture
def denier(api):
    api.context.authenticator.user = User("mallory", groups=("system:authenticated",))
    api.context.authorizer = Denier(api.context.authorizer)
    return api.context.authorizer


async def test_every_resource_route_is_authorised(api, denier):
    count = 0
    for resource, subresource, verb in every_resource_route(api.context.table):
        denier.asked.clear()
        answer = await api.call(METHODS[verb], url(resource, verb, subresource))
        assert answer.status == 403, (resource.gvr, subresource, verb, answer.raw)
        [asked] = denier.asked
        assert asked.is_resource
        assert (asked.verb, asked.group, asked.version, asked.resource, asked.subresource) == (
            verb,
            resource.group,
            resource.version,
            resource.name,
            subresource,
        )
        assert asked.namespace == (
            "default" if resource.namespaced else "x" if asked.name and resource.name == "namespaces" else ""
        )
        assert asked.user.name == "mallory"
        count += 1
    assert count > 400


async def test_every_other_route_is_authorised_but_health(api, denier):
    for route in routes.PATHS:
        path = route.path.replace("{}", "v1").replace("{*}", "ping")
        denier.asked.clear()
        answer = await api.call("GET", path)
        if route.authorised == "always":
            assert answer.status == 200, path
            assert not denier.asked
            assert route.path in ALWAYS
        else:
            assert answer.status == 403, (path, answer.raw)
            [asked] = denier.asked
            assert (asked.is_resource, asked.verb, asked.path) == (False, "get", path)


async def test_what_does_not_exist_is_authorised_first(api, denier):
    for path in ("/nope", "/apis/none.example/v1/things", "/api/v1/namespaces/default/pods/x/nope"):
        assert (await api.get(path)).status == 403


async def test_refusals_are_worded_as_upstream(api, denier):
    answer = await api.get("/api/v1/namespaces/default/pods")
    assert answer.message == (
        'pods is forbidden: User "mallory" cannot list resource "pods" in API group "" in the namespace "default": no'
    )
    assert (await api.get("/metrics")).message == 'forbidden: User "mallory" cannot get path "/metrics": no'


async def test_every_verb_that_discovery_names_has_a_handler(api):
    """No route of the table answers 404 (path) or 405."""
    for resource, subresource, verb in every_resource_route(api.context.table):
        special = routes.special_handler(
            resource.group, f"{resource.name}/{subresource}" if subresource else resource.name
        )
        if special is None and resource.virtual:
            continue
        answer = (
            await api.call(
                METHODS[verb], url(resource, verb, subresource) + ("" if verb != "watch" else "&timeoutSeconds=1")
            )
            if verb != "watch"
            else None
        )
        if answer is None:
            continue
        assert answer.status != 405, (resource.gvr, subresource, verb)
        if answer.status == 404:
            assert "not found" in answer.message, (resource.gvr, subresource, verb, answer.raw)


async def test_verbs_that_a_resource_does_not_have(api):
    for method, path in (
        ("DELETE", "/api/v1/namespaces"),
        ("PUT", "/api/v1/namespaces/default/pods"),
        ("POST", "/api/v1/namespaces/default/pods/x"),
        ("POST", "/api/v1/namespaces/default/pods/x/status"),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("BREW", "/api/v1/namespaces/default/pods"),
        ("POST", "/version"),
    ):
        answer = await api.call(method, path)
        assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed"), (method, path)


async def test_paths_that_are_none(api):
    for path in (
        "/api/v1/nodes/x/y/z",
        "/api/v1/namespaces/default/nodes",
        "/api/v2/pods",
        "/apis/apps/v1/namespaces/default/pods",
        "/api/v1/pods/x",
    ):
        answer = await api.get(path)
        assert (answer.status, answer.message) == (404, "the server could not find the requested resource"), path
    assert (await api.get("/nope")).raw == b"404 page not found\n"


async def test_segments_that_could_leave_their_place(api):
    for path in (
        "/api/v1/namespaces/../secrets",
        "/api/v1/namespaces/default/secrets/..",
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/default/secrets/a%2fb",
        "/api/v1/namespaces/default/secrets/%25",
        "/api/v1/namespaces/default%00/secrets",
    ):
        assert (await api.get(path)).status in (400, 404), path


async def test_a_field_selector_names_what_is_asked_for(api, denier):
    await api.get("/api/v1/namespaces/default/secrets?fieldSelector=metadata.name=one")
    await api.get("/api/v1/namespaces/default/secrets?fieldSelector=metadata.name=one&watch=1")
    assert [(a.verb, a.name) for a in denier.asked] == [("list", "one"), ("watch", "one")]


async def test_impersonation(api):
    answer = await api.get("/api/v1/namespaces/default/pods", impersonate_user="bob")
    assert answer.status == 403
    assert 'User "bob" cannot list' in answer.message


async def test_the_index_names_only_what_is_there(api):
    for path in (await api.get("/")).json["paths"]:
        assert (await api.get(path)).status == 200, path
