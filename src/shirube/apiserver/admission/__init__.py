"""The last word before a write is stored: plugins that fill in, and plugins that refuse.

`Admission.mutate` runs before defaults and validation of the result, `validate` on the object as it will be
stored. Plugins run in upstream's order (`AllOrderedPlugins`); `table` has them, one module each, `selection` says which
are on and `configuration` reads what they are told. Which plugins look at which kind of write is worked out once and
remembered, so a write that concerns none costs a dictionary look-up and a plugin that is off nothing. See "Admission
Control in Kubernetes" in the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shirube.api.errors import ApiError
from shirube.apiserver.admission import configuration, selection
from shirube.apiserver.admission.metrics import STEP, AdmissionMetrics, observe
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CONNECT, CREATE, DELETE, UPDATE, AdmissionRequest
from shirube.apiserver.admission.table import PLUGINS

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext
    from shirube.foundation.clock import Clock

__all__ = ["CONNECT", "CREATE", "DELETE", "PLUGINS", "UPDATE", "Admission", "AdmissionRequest"]

_Key = tuple[str, str, str, str, str]


class Admission:
    def __init__(self, server: ServerContext) -> None:
        self._clock = server.clock
        self._metrics = AdmissionMetrics.of(server)
        self._plugins = _made(server)
        self._steps: dict[_Key, _Step] = {}

    @classmethod
    def of(cls, server: ServerContext) -> Admission:
        """Raises ConfigurationError when the options ask for what cannot be."""
        return cls(server)

    async def mutate(self, req: AdmissionRequest) -> None:
        """Let plugins change `req.obj`; once more when one of them asks for it. Raises ApiError."""
        step = self._step(req, "mutate")
        began = self._clock.monotonic()
        rejected = True
        try:
            await step.run(req, self._clock)
            if req.again:
                req.second_round = True
                await step.run(req, self._clock)
            rejected = False
        finally:
            step.observe(self._clock.monotonic() - began, rejected)

    async def validate(self, req: AdmissionRequest) -> None:
        """Let plugins refuse. The last one takes quota: the write should follow at once. Raises ApiError."""
        step = self._step(req, "validate")
        began = self._clock.monotonic()
        rejected = True
        try:
            await step.run(req, self._clock)
            rejected = False
        finally:
            step.observe(self._clock.monotonic() - began, rejected)

    def _step(self, req: AdmissionRequest, name: str) -> _Step:
        key = (name, req.operation, req.resource.group, req.resource.name, req.subresource)
        found = self._steps.get(key)
        if found is None:
            concerned = [
                p for p in self._plugins if p.handles(*key[1:]) and getattr(type(p), name) is not getattr(Plugin, name)
            ]
            found = self._steps[key] = _Step(self._metrics, name, req.operation, concerned)
        return found


def _made(server: ServerContext) -> list[Plugin]:
    options = server.options
    path = options.admission_control_config_file
    configured = configuration.load(path) if path is not None else {}
    made = []
    for plugin in selection.chosen(options.enable_admission_plugins, options.disable_admission_plugins, configured):
        made.append(one := plugin(server))
        if plugin.name in configured:
            one.configure(configured[plugin.name])
    return made


class _Step:
    """The plugins that look at one kind of write, with what was counted of them."""

    def __init__(self, metrics: AdmissionMetrics, name: str, operation: str, plugins: list[Plugin]) -> None:
        kind = "admit" if name == "mutate" else "validate"
        self._metrics, self._kind, self._operation = metrics, kind, operation
        self._whole = metrics.histogram("apiserver_admission_step_admission_duration_seconds", kind, operation, "false")
        self._plugins: list[tuple[Plugin, Callable[[AdmissionRequest], Awaitable[None]], list[float]]] = [
            (plugin, getattr(plugin, name), self._of(plugin, "false")) for plugin in plugins
        ]

    def _of(self, plugin: Plugin, rejected: str) -> list[float]:
        name = "apiserver_admission_controller_admission_duration_seconds"
        return self._metrics.histogram(name, plugin.name, self._kind, self._operation, rejected)

    async def run(self, req: AdmissionRequest, clock: Clock) -> None:
        since = clock.monotonic()
        for plugin, look, histogram in self._plugins:
            try:
                await look(req)
            except ApiError:
                observe(self._of(plugin, "true"), STEP, clock.monotonic() - since)
                raise
            now = clock.monotonic()
            observe(histogram, STEP, now - since)
            since = now

    def observe(self, seconds: float, rejected: bool) -> None:
        whole = self._whole
        if rejected:
            name = "apiserver_admission_step_admission_duration_seconds"
            whole = self._metrics.histogram(name, self._kind, self._operation, "true")
        observe(whole, STEP, seconds)
