"""The last word before a write is stored: plugins that fill in, and plugins that refuse.

`Admission.mutate` runs before defaults and validation of the result, `validate` on the object as it will be
stored. Plugins run in upstream's order (`AllOrderedPlugins`); the table `PLUGINS` holds those that are on,
one module each. Which plugins look at which kind of write is worked out once and remembered, so a write that
concerns none costs a dictionary look-up. See "Admission Control in Kubernetes" in the upstream documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CONNECT, CREATE, DELETE, UPDATE, AdmissionRequest
from shirube.apiserver.admission.table import PLUGINS

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

__all__ = ["CONNECT", "CREATE", "DELETE", "PLUGINS", "UPDATE", "Admission", "AdmissionRequest"]

_Key = tuple[str, str, str, str]


class Admission:
    def __init__(self, server: ServerContext) -> None:
        self._plugins = [plugin(server) for plugin in PLUGINS]
        self._mutating: dict[_Key, tuple[Plugin, ...]] = {}
        self._validating: dict[_Key, tuple[Plugin, ...]] = {}

    @classmethod
    def of(cls, server: ServerContext) -> Admission:
        return cls(server)

    async def mutate(self, req: AdmissionRequest) -> None:
        """Let plugins change `req.obj`; once more when one of them asks for it. Raises ApiError."""
        key = (req.operation, req.resource.group, req.resource.name, req.subresource)
        plugins = self._mutating.get(key)
        if plugins is None:
            plugins = self._mutating[key] = self._of(key, "mutate")
        for plugin in plugins:
            await plugin.mutate(req)
        if req.again:
            req.second_round = True
            for plugin in plugins:
                await plugin.mutate(req)

    async def validate(self, req: AdmissionRequest) -> None:
        """Let plugins refuse. The last one takes quota: the write should follow at once. Raises ApiError."""
        key = (req.operation, req.resource.group, req.resource.name, req.subresource)
        plugins = self._validating.get(key)
        if plugins is None:
            plugins = self._validating[key] = self._of(key, "validate")
        for plugin in plugins:
            await plugin.validate(req)

    def _of(self, key: _Key, step: str) -> tuple[Plugin, ...]:
        return tuple(
            p for p in self._plugins if p.handles(*key) and getattr(type(p), step) is not getattr(Plugin, step)
        )
