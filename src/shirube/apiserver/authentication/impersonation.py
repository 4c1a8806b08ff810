"""Acting as somebody else: `Impersonate-*` headers, each allowed or refused by the authoriser.

Every name that is put on (user, each group, uid, each extra value) is a request of its own with the verb
`impersonate`. See "User impersonation" in the upstream documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from shirube.api import errors
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication import service_account_tokens
from shirube.apiserver.user import ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, User
from shirube.serving.messages import Headers

if TYPE_CHECKING:
    from shirube.apiserver.authorization import Authorizer

_USER, _GROUP, _UID, _EXTRA = (
    "impersonate-user",
    "impersonate-group",
    "impersonate-uid",
    "impersonate-extra-",
)


async def impersonate(authorizer: Authorizer, user: User, headers: Headers) -> User:
    """The user that the request is to act as: `user` itself without such headers. Raises ApiError 400, 403."""
    name = headers.get(_USER) or ""
    groups = headers.get_all(_GROUP)
    uid = headers.get(_UID) or ""
    extra = _extra(headers)
    if not (name or groups or uid or extra):
        return user
    if not name:
        raise errors.bad_request("requested impersonation of groups, uid or extra without impersonating a user")
    account = service_account_tokens.split_username(name)
    asked = (
        [_attributes(user, "", "serviceaccounts", *account)] if account else [_attributes(user, "", "users", "", name)]
    )
    asked += [_attributes(user, "", "groups", "", group) for group in groups]
    for key, values in extra.items():
        asked += [_attributes(user, "authentication.k8s.io", "userextras", "", v, key) for v in values]
    if uid:
        asked.append(_attributes(user, "authentication.k8s.io", "uids", "", uid))
    for attributes in asked:
        decision = await authorizer.authorize(attributes)
        if not decision.allowed:
            raise authorizer.refusal(attributes, decision)
    if not groups and account:
        groups = list(service_account_tokens.groups(account[0]))
    everybody = ALL_UNAUTHENTICATED if name == ANONYMOUS else ALL_AUTHENTICATED
    if not {ALL_AUTHENTICATED, ALL_UNAUTHENTICATED} & set(groups):
        groups = [*groups, everybody]
    return User(name, uid, tuple(groups), {key: tuple(values) for key, values in extra.items()})


def _extra(headers: Headers) -> dict[str, list[str]]:
    extra: dict[str, list[str]] = {}
    for name, value in headers.items():
        if name.startswith(_EXTRA):
            extra.setdefault(unquote(name.removeprefix(_EXTRA)), []).append(value)
    return extra


def _attributes(user: User, group: str, resource: str, namespace: str, name: str, subresource: str = "") -> Attributes:
    version = "v1"
    return Attributes(user, "impersonate", group, version, resource, subresource, namespace, name)
