"""Acting as somebody else: `Impersonate-*` headers, each name in them allowed or refused by the authoriser.

Constrained impersonation (KEP-5284) comes first: the one who asks needs the verb `impersonate:MODE` on every name that
is put on (user, groups, uid, extra values; in the group authentication.k8s.io), and `impersonate-on:MODE:VERB` on what
the request does. The modes are the kinds of users: the node that a service account's pod runs on, any node, service
accounts, all others. When no mode allows it, the verb `impersonate` on every name does for all requests, as ever.
See "User Impersonation" in the upstream documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from shirube.api import errors, names
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication import service_account_tokens
from shirube.apiserver.user import ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, MASTERS, User
from shirube.serving.messages import Headers

if TYPE_CHECKING:
    from shirube.apiserver.authorization import Authorizer

_USER, _GROUP, _UID, _EXTRA = (
    "impersonate-user",
    "impersonate-group",
    "impersonate-uid",
    "impersonate-extra-",
)
_AUTHENTICATION = "authentication.k8s.io"
_NODE_PREFIX = "system:node:"
_NODES = "system:nodes"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_MANY = 4  # names: from here on the right to all of them is looked for first
_EXTRA_KEY = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^\s/%][^\s%]*")


class Impersonated(NamedTuple):
    user: User
    constraint: str = ""  # the verb that allowed it, for the audit log; "" when it was `impersonate`


async def impersonate(authorizer: Authorizer, attributes: Attributes, headers: Headers) -> Impersonated | None:
    """The user that the request is to act as; None without such headers. Raises ApiError 400, 403.

    `attributes` are the request's own, of the user who sent it.
    """
    wanted = _wanted(headers)
    if wanted is None:
        return None
    refused: errors.ApiError | None = None
    for mode, applies in _MODES:
        if not applies(wanted, attributes.user):
            continue
        try:
            return await _constrained(authorizer, attributes, wanted, mode)
        except errors.ApiError as error:
            refused = refused or error
    try:
        return Impersonated(await _as_ever(authorizer, attributes.user, wanted))
    except errors.ApiError as error:
        raise refused or error from None


def _wanted(headers: Headers) -> User | None:
    """What the headers ask for, as it is."""
    name = headers.get(_USER) or ""
    groups = tuple(headers.get_all(_GROUP))
    uid = headers.get(_UID) or ""
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        if header.startswith(_EXTRA):
            key = unquote(header.removeprefix(_EXTRA)).lower()
            extra[key] = (*extra.get(key, ()), value)
    if not name:
        if groups or uid or extra:
            raise errors.bad_request(
                "requested impersonation of groups, uid or extra without impersonating a user name"
            )
        return None
    return User(name, uid, groups, extra)


def _node(name: str) -> str:
    """The node whose agent a user name is; "" when it is none."""
    node = name.removeprefix(_NODE_PREFIX) if name.startswith(_NODE_PREFIX) else ""
    return node if node and not names.is_dns1123_subdomain(node) else ""


def _only_named(wanted: User) -> bool:
    return not (wanted.uid or wanted.groups or wanted.extra)


def _own_node(wanted: User, user: User) -> bool:
    node = _node(wanted.name)
    account = service_account_tokens.split_username(user.name)
    return bool(node) and _only_named(wanted) and account is not None and user.extra.get(_NODE_NAME) == (node,)


def _any_node(wanted: User, user: User) -> bool:
    return _only_named(wanted) and bool(_node(wanted.name))


def _service_account(wanted: User, user: User) -> bool:
    return _only_named(wanted) and service_account_tokens.split_username(wanted.name) is not None


def _other(wanted: User, user: User) -> bool:
    return not _node(wanted.name) and service_account_tokens.split_username(wanted.name) is None


_OWN_NODE = "associated-node"
# (mode, whether it is for this wanted user and the one who asks), the most narrow first
_MODES: tuple[tuple[str, Callable[[User, User], bool]], ...] = (
    (_OWN_NODE, _own_node),
    ("arbitrary-node", _any_node),
    ("serviceaccount", _service_account),
    ("user-info", _other),
)


async def _constrained(authorizer: Authorizer, attributes: Attributes, wanted: User, mode: str) -> Impersonated:
    """Raises ApiError 403."""
    verb = f"impersonate:{mode}"
    on = replace(attributes, verb=f"impersonate-on:{mode}:{attributes.verb}")
    await _check(authorizer, on)
    ask = _Asking(authorizer, attributes.user, verb, _AUTHENTICATION)
    groups = wanted.groups
    if node := _node(wanted.name):
        # Of a pod's own node the authoriser need not know which: the right is to "the node that I am on".
        await ask.for_name("nodes", "*" if mode == _OWN_NODE else node)
        groups = (_NODES,)
    elif account := service_account_tokens.split_username(wanted.name):
        await ask.for_name("serviceaccounts", account[1], account[0])
        groups = service_account_tokens.groups(account[0])
    else:
        await ask.for_name("users", wanted.name)
    if wanted.uid:
        await ask.for_name("uids", wanted.uid, group=_AUTHENTICATION)
    await _check_groups(ask, wanted.groups)
    await _check_extra(ask, wanted)
    return Impersonated(_complete(replace(wanted, groups=groups)), verb)


async def _check_groups(ask: _Asking, groups: tuple[str, ...]) -> None:
    for wrong, why in (("", "the empty string group"), (MASTERS, "the system:masters group")):
        if wrong in groups:
            raise ask.refused("groups", wrong, f"impersonating {why} is not allowed")
    if len(groups) >= _MANY and await ask.allowed("groups", "*"):
        return
    for group in groups:
        await ask.for_name("groups", group)


async def _check_extra(ask: _Asking, wanted: User) -> None:
    for key, values in wanted.extra.items():
        why = ""
        if not _EXTRA_KEY.fullmatch(key):
            why = f'impersonating an invalid key in extra is not allowed: "{key}" must be a domain-prefixed path'
        elif "" in values:
            why = "impersonating the empty string value in extra is not allowed"
        if why:
            raise ask.refused("userextras", "", why)
    many = len(wanted.extra) >= _MANY or sum(map(len, wanted.extra.values())) >= _MANY
    if many and await ask.allowed("userextras", "*", "*"):
        return
    await _ask_extra(ask, wanted)


async def _ask_extra(ask: _Asking, wanted: User) -> None:
    for key, values in wanted.extra.items():
        for value in values:
            await ask.for_name("userextras", value, group=_AUTHENTICATION, subresource=key)


async def _as_ever(authorizer: Authorizer, user: User, wanted: User) -> User:
    """The verb `impersonate` on every name. Raises ApiError 403."""
    ask = _Asking(authorizer, user, "impersonate", "")
    groups = wanted.groups
    account = service_account_tokens.split_username(wanted.name)
    if account:
        await ask.for_name("serviceaccounts", account[1], account[0])
        groups = groups or service_account_tokens.groups(account[0])
    else:
        await ask.for_name("users", wanted.name)
    if wanted.uid:
        await ask.for_name("uids", wanted.uid, group=_AUTHENTICATION)
    for group in wanted.groups:
        await ask.for_name("groups", group)
    await _ask_extra(ask, wanted)
    return _complete(replace(wanted, groups=groups))


def _complete(user: User) -> User:
    """With the group that everybody of the user's kind is in."""
    if user.name == ANONYMOUS:
        everybody = ALL_UNAUTHENTICATED
    elif ALL_UNAUTHENTICATED in user.groups:
        return user
    else:
        everybody = ALL_AUTHENTICATED
    return user if everybody in user.groups else replace(user, groups=(*user.groups, everybody))


async def _check(authorizer: Authorizer, attributes: Attributes) -> None:
    decision = await authorizer.authorize(attributes)
    if not decision.allowed:
        raise authorizer.refusal(attributes, decision)


class _Asking(NamedTuple):
    """Questions about single names."""

    authorizer: Authorizer
    user: User
    verb: str
    group: str

    def _attributes(
        self, resource: str, name: str, namespace: str = "", group: str | None = None, subresource: str = ""
    ) -> Attributes:
        group = self.group if group is None else group
        return Attributes(self.user, self.verb, group, "v1", resource, subresource, namespace, name)

    async def for_name(
        self, resource: str, name: str, namespace: str = "", *, group: str | None = None, subresource: str = ""
    ) -> None:
        """Raises ApiError 403."""
        await _check(self.authorizer, self._attributes(resource, name, namespace, group, subresource))

    async def allowed(self, resource: str, name: str, subresource: str = "") -> bool:
        attributes = self._attributes(resource, name, subresource=subresource)
        return (await self.authorizer.authorize(attributes)).allowed

    def refused(self, resource: str, name: str, why: str) -> errors.ApiError:
        from shirube.apiserver.authorization.decision import Decision

        return self.authorizer.refusal(self._attributes(resource, name), Decision(False, why))
