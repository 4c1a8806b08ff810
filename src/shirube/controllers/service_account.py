"""Every namespace has a service account `default`: pods that name none run as it."""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import NAMESPACES, SERVICEACCOUNTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.pod_control import namespace_terminating

NAME = "default"
_ACCOUNT = "service-account-controller"


class ServiceAccountController(Controller[str]):
    name = "serviceaccount-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._namespaces = context.informer(NAMESPACES)
        self._accounts = context.informer(SERVICEACCOUNTS)
        super().__init__(self._namespaces, self._accounts)
        self._client = context.client_of(_ACCOUNT)
        self._namespaces.add_handler(self._enqueue, lambda _, new: self._enqueue(new))
        self._accounts.add_handler(on_delete=self._account_deleted)

    def _enqueue(self, namespace: Object) -> None:
        self.queue.add(key_of(namespace))

    def _account_deleted(self, account: Object) -> None:
        if account["metadata"]["name"] == NAME:
            self.queue.add(account["metadata"]["namespace"])

    async def reconcile(self, key: str) -> None:
        namespace = self._namespaces.store.get(None, key)
        if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
            return
        if self._accounts.store.get(key, NAME) is not None:
            return
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}
        try:
            await self._client.create(SERVICEACCOUNTS, account, key)
        except ApiError as error:
            if error.reason != "AlreadyExists" and error.code != 404 and not namespace_terminating(error):
                raise
