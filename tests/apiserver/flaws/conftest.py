"""What the tests of published classes of flaws share: users of little power, and users by header."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.conftest import ADMIN, Api

from shirube.apiserver.user import User

RBAC = "/apis/rbac.authorization.k8s.io/v1"
EVERYBODY = "system:authenticated"


class Named:
    """The user that `X-Test-User` names; an administrator without it. Impersonation and all else is real."""

    def __init__(self, real: Any) -> None:
        self.tokens, self.audiences = real.tokens, real.audiences
        self.users: dict[str, User] = {}

    async def authenticate(self, headers: Any, peer: Any, remarks: Any = None) -> User:
        name = headers.get("x-test-user")
        if not name:
            return ADMIN
        groups = ("system:nodes", EVERYBODY) if name.startswith("system:node:") else (EVERYBODY,)
        return self.users.get(name) or User(name, groups=groups)


@pytest.fixture
async def world(pods: Api) -> Api:
    """`pods` (an API whose default namespace can hold pods) with users by header."""
    pods.context.authenticator = Named(pods.context.authenticator)
    return pods


async def allow(api: Api, user: str, rules: list[dict], namespace: str = "") -> None:
    """Give a user a role: in a namespace, or everywhere."""
    where = f"{RBAC}/namespaces/{namespace}/" if namespace else f"{RBAC}/"
    kind = "Role" if namespace else "ClusterRole"
    name = f"{user.replace(':', '-')}-role"
    await api.ok("POST", f"{where}{kind.lower()}s", {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    await api.ok("POST", f"{where}{kind.lower()}bindings", body)


def rule(*resources: str, group: str = "", verbs: tuple[str, ...] = ("*",)) -> dict:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
