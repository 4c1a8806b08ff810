"""Acting as somebody else needs the right to, for every name that is put on."""

from __future__ import annotations

import pytest

from shirube.api.errors import ApiError
from shirube.apiserver.authentication.impersonation import impersonate
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.user import User
from shirube.serving.messages import Headers

ME = User("me", groups=("system:authenticated",))


class Allowing:
    """Allows what is in the set of (resource/subresource, namespace, name)."""

    def __init__(self, *allowed):
        self.allowed = set(allowed)
        self.asked = []

    async def authorize(self, a):
        assert a.verb == "impersonate"
        resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
        self.asked.append((resource, a.namespace, a.name))
        return Decision((resource, a.namespace, a.name) in self.allowed)

    refusal = Authorizer.refusal


async def test_without_headers_nothing_happens():
    assert await impersonate(Allowing(), ME, Headers()) is ME


async def test_user_groups_uid_and_extra():
    authorizer = Allowing(
        ("users", "", "jane"), ("groups", "", "dev"), ("uids", "", "7"), ("userextras/example.com/scopes", "", "view")
    )
    headers = Headers(
        [("Impersonate-User", "jane"), ("Impersonate-Group", "dev"), ("Impersonate-Uid", "7"),
         ("Impersonate-Extra-Example.com%2fScopes", "view")]
    )  # fmt: skip
    user = await impersonate(authorizer, ME, headers)
    assert user == User("jane", "7", ("dev", "system:authenticated"), {"example.com/scopes": ("view",)})


async def test_service_account_gets_its_groups():
    name = "system:serviceaccount:ns:robot"
    user = await impersonate(Allowing(("serviceaccounts", "ns", "robot")), ME, Headers([("Impersonate-User", name)]))
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


async def test_refused():
    headers = Headers([("Impersonate-User", "jane"), ("Impersonate-Group", "system:masters")])
    with pytest.raises(ApiError) as caught:
        await impersonate(Allowing(("users", "", "jane")), ME, headers)
    assert caught.value.code == 403
    assert caught.value.message == (
        'groups "system:masters" is forbidden: User "me" cannot impersonate resource "groups" in API group "" '
        "at the cluster scope"
    )


async def test_a_group_needs_a_user():
    with pytest.raises(ApiError) as caught:
        await impersonate(Allowing(), ME, Headers([("Impersonate-Group", "dev")]))
    assert caught.value.code == 400
