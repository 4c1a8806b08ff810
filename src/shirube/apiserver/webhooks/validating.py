"""ValidatingAdmissionWebhook: all that are concerned are asked at once; one that refuses refuses the write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shirube.api import errors
from shirube.api.errors import ApiError, quote
from shirube.api.gvr import VALIDATINGWEBHOOKCONFIGURATIONS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import AdmissionRequest
from shirube.apiserver.webhooks import matching
from shirube.apiserver.webhooks.asking import Asked, ask, note, usable
from shirube.apiserver.webhooks.calling import Caller, CallFailed
from shirube.apiserver.webhooks.configurations import Hook, Hooks
from shirube.apiserver.webhooks.credentials import Credentials, read_configuration
from shirube.apiserver.webhooks.mutating import EVERYTHING
from shirube.apiserver.webhooks.review import InvalidAnswer, refusal
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

_logger = log.get("webhooks")


class ValidatingAdmissionWebhook(Plugin):
    name = "ValidatingAdmissionWebhook"
    operations = EVERYTHING
    read = staticmethod(read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._hooks = Hooks(server, VALIDATINGWEBHOOKCONFIGURATIONS)
        self._caller = Caller(server)

    def configure(self, configuration: Credentials) -> None:
        self._caller.credentials = configuration

    async def validate(self, req: AdmissionRequest) -> None:
        hooks = self._hooks.current()
        if not hooks or matching.exempt(req.resource):
            return
        concerned = []
        for hook in hooks:
            resource = await hook.concerns(self.server, req)
            if resource is not None:
                usable(hook, req)
                concerned.append((hook, resource))
        if not concerned:
            return
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._one(hook, req, resource), name=f"webhook {hook.name}")
                for hook, resource in concerned
            ]
        for task in asked:
            if (error := task.result()) is not None:
                raise error

    async def _one(self, hook: Hook, req: AdmissionRequest, resource: Resource) -> ApiError | None:
        """The refusal, if it is one."""
        asked = Asked(self.server, hook, req, "validating")
        try:
            verdict = await ask(self._caller, hook, req, resource, mutating=False)
        except (CallFailed, InvalidAnswer) as error:
            asked.not_called(error, fails_closed=hook.fails_closed)
            if hook.fails_closed:
                return errors.internal_error(f"failed calling webhook {quote(hook.name)}: {error}")
            _logger.warning("failed open", webhook=hook.name, error=str(error))
            return None
        except ApiError as error:
            asked.failed(error)
            return error
        req.warnings += verdict.warnings
        note(req, hook, verdict)
        if verdict.allowed:
            asked.allowed()
            return None
        denied = refusal(hook.name, verdict.status)
        asked.refused(denied.code)
        return denied
