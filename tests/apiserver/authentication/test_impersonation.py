"""Acting as somebody else needs the right to, for every name that is put on."""

from __future__ import annotations

import pytest

from shirube.api.errors import ApiError
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication import impersonation
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.user import User
from shirube.serving.messages import Headers

ME = User("me", groups=("system:authenticated",))
NODE_NAME = "authentication.kubernetes.io/node-name"
AGENT = User("system:serviceaccount:ns:agent", extra={NODE_NAME: ("n1",)})


class Allowing:
    """Allows what is in the set of (verb, group/resource/subresource, namespace, name)."""

    def __init__(self, *allowed):
        self.allowed = set(allowed)
        self.asked = []

    async def authorize(self, a):
        resource = "/".join(part for part in (a.group, a.resource, a.subresource) if part)
        self.asked.append((a.verb, resource, a.namespace, a.name))
        return Decision(self.asked[-1] in self.allowed)

    refusal = Authorizer.refusal


def legacy(*names):
    return [("impersonate", *name) for name in names]


def listing(user=ME, verb="list"):
    return Attributes(user, verb, "", "v1", "pods", "", "ns", "")


async def impersonate(authorizer, user=ME, *headers, verb="list"):
    return await impersonation.impersonate(authorizer, listing(user, verb), Headers(headers))


async def refusal(authorizer, user=ME, *headers, verb="list"):
    with pytest.raises(ApiError) as caught:
        await impersonate(authorizer, user, *headers, verb=verb)
    assert caught.value.code == 403
    return caught.value.message


JANE = ("Impersonate-User", "jane")


async def test_without_headers_nothing_happens():
    assert await impersonate(Allowing()) is None


async def test_user_groups_uid_and_extra():
    authorizer = Allowing(
        *legacy(
            ("users", "", "jane"),
            ("groups", "", "dev"),
            ("authentication.k8s.io/uids", "", "7"),
            ("authentication.k8s.io/userextras/example.com/scopes", "", "view"),
        )
    )
    acting = await impersonate(
        authorizer,
        ME,
        JANE,
        ("Impersonate-Group", "dev"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-Example.com%2fScopes", "view"),
    )
    assert acting.user == User("jane", "7", ("dev", "system:authenticated"), {"example.com/scopes": ("view",)})
    assert acting.constraint == ""


@pytest.mark.parametrize(
    "missing", ["users", "groups", "authentication.k8s.io/uids", "authentication.k8s.io/userextras/a.b/c"]
)
async def test_every_name_needs_its_own_right(missing):
    names = [
        ("users", "", "jane"),
        ("groups", "", "dev"),
        ("authentication.k8s.io/uids", "", "7"),
        ("authentication.k8s.io/userextras/a.b/c", "", "d"),
    ]
    authorizer = Allowing(*legacy(*(name for name in names if name[0] != missing)))
    headers = (("Impersonate-Group", "dev"), ("Impersonate-Uid", "7"), ("Impersonate-Extra-a.b%2fc", "d"))
    await refusal(authorizer, ME, JANE, *headers)


async def test_service_account_gets_its_groups():
    name = "system:serviceaccount:ns:robot"
    acting = await impersonate(Allowing(*legacy(("serviceaccounts", "ns", "robot"))), ME, ("Impersonate-User", name))
    assert acting.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


async def test_nobody_is_not_authenticated():
    name = "system:anonymous"
    acting = await impersonate(Allowing(*legacy(("users", "", name))), ME, ("Impersonate-User", name))
    assert acting.user.groups == ("system:unauthenticated",)


async def test_a_group_needs_a_user():
    with pytest.raises(ApiError) as caught:
        await impersonate(Allowing(), ME, ("Impersonate-Group", "dev"))
    assert caught.value.code == 400


async def test_the_refusal_is_the_first_modes():
    assert await refusal(Allowing(), ME, JANE) == (
        'pods is forbidden: User "me" cannot impersonate-on:user-info:list resource "pods" in API group "" '
        'in the namespace "ns"'
    )


# -- constrained ---------------------------------------------------------------------------------------------

ON_PODS = ("impersonate-on:user-info:list", "pods", "ns", "")


def as_user(*names):
    return [("impersonate:user-info", f"authentication.k8s.io/{resource}", "", name) for resource, name in names]


async def test_a_user_for_one_kind_of_request_only():
    authorizer = Allowing(ON_PODS, *as_user(("users", "jane"), ("groups", "dev")))
    headers = (JANE, ("Impersonate-Group", "dev"))
    acting = await impersonate(authorizer, ME, *headers)
    assert acting.user == User("jane", "", ("dev", "system:authenticated"))
    assert acting.constraint == "impersonate:user-info"
    assert "impersonate-on:user-info:delete" in await refusal(authorizer, ME, *headers, verb="delete")


async def test_the_right_to_the_name_alone_does_nothing():
    await refusal(Allowing(*as_user(("users", "jane"))), ME, JANE)
    await refusal(Allowing(ON_PODS), ME, JANE)


async def test_the_masters_are_never_put_on_in_a_constrained_way():
    authorizer = Allowing(ON_PODS, *as_user(("users", "jane"), ("groups", "*"), ("groups", "system:masters")))
    message = await refusal(authorizer, ME, JANE, ("Impersonate-Group", "system:masters"))
    assert "impersonating the system:masters group is not allowed" in message


async def test_many_groups_may_be_allowed_at_once():
    groups = [("Impersonate-Group", f"g{n}") for n in range(4)]
    authorizer = Allowing(ON_PODS, *as_user(("users", "jane"), ("groups", "*")))
    acting = await impersonate(authorizer, ME, JANE, *groups)
    assert acting.user.groups == ("g0", "g1", "g2", "g3", "system:authenticated")
    assert len(authorizer.asked) == 3


async def test_extra_keys_have_a_domain():
    authorizer = Allowing(ON_PODS, *as_user(("users", "jane")))
    message = await refusal(authorizer, ME, JANE, ("Impersonate-Extra-Scopes", "view"))
    assert "impersonating an invalid key in extra is not allowed" in message


async def test_service_accounts_are_a_mode_of_their_own():
    name = ("Impersonate-User", "system:serviceaccount:ns:robot")
    authorizer = Allowing(
        ("impersonate-on:serviceaccount:list", "pods", "ns", ""),
        ("impersonate:serviceaccount", "authentication.k8s.io/serviceaccounts", "ns", "robot"),
    )
    acting = await impersonate(authorizer, ME, name)
    assert acting.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    assert acting.constraint == "impersonate:serviceaccount"
    # with a uid it is no longer that account as it is
    await refusal(authorizer, ME, name, ("Impersonate-Uid", "7"))
    # and the mode of users does not reach accounts
    every = Allowing(ON_PODS, *as_user(("users", "system:serviceaccount:ns:robot")))
    await refusal(every, ME, name)


async def test_any_node():
    authorizer = Allowing(
        ("impersonate-on:arbitrary-node:list", "pods", "ns", ""),
        ("impersonate:arbitrary-node", "authentication.k8s.io/nodes", "", "n7"),
    )
    acting = await impersonate(authorizer, ME, ("Impersonate-User", "system:node:n7"))
    assert acting.user == User("system:node:n7", "", ("system:nodes", "system:authenticated"))
    await refusal(authorizer, ME, ("Impersonate-User", "system:node:n8"))
    await refusal(authorizer, ME, ("Impersonate-User", "system:node:Not A Node"))


OWN_NODE = (
    ("impersonate-on:associated-node:list", "pods", "ns", ""),
    ("impersonate:associated-node", "authentication.k8s.io/nodes", "", "*"),
)


async def test_the_node_that_a_pod_runs_on():
    acting = await impersonate(Allowing(*OWN_NODE), AGENT, ("Impersonate-User", "system:node:n1"))
    assert acting.user == User("system:node:n1", "", ("system:nodes", "system:authenticated"))
    assert acting.constraint == "impersonate:associated-node"


@pytest.mark.parametrize(
    ("user", "node"),
    [
        (AGENT, "n2"),
        (User("system:serviceaccount:ns:agent"), "n1"),
        (User("jane", extra={NODE_NAME: ("n1",)}), "n1"),
        (User(AGENT.name, extra={NODE_NAME: ("n1", "n2")}), "n1"),
    ],
)
async def test_and_no_other_node(user, node):
    await refusal(Allowing(*OWN_NODE), user, ("Impersonate-User", f"system:node:{node}"))
