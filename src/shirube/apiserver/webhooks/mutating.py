"""MutatingAdmissionWebhook: one webhook after the other, each sees what those before it made of the object.

When a webhook has changed the object, all of mutating admission runs once more, and in that second round the webhooks
that ask for it (`reinvocationPolicy: IfNeeded`) are called again if the object has changed since they saw it.
Webhooks that fail are passed over or refuse the write, as their failurePolicy says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from shirube.api import errors
from shirube.api.errors import ApiError, quote
from shirube.api.gvr import MUTATINGWEBHOOKCONFIGURATIONS
from shirube.api.patch import json_patch
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CONNECT, CREATE, DELETE, UPDATE, AdmissionRequest
from shirube.apiserver.webhooks import matching, versions
from shirube.apiserver.webhooks.asking import Asked, ask, note, usable
from shirube.apiserver.webhooks.calling import Caller, CallFailed
from shirube.apiserver.webhooks.configurations import Hook, Hooks
from shirube.apiserver.webhooks.credentials import Credentials, read_configuration
from shirube.apiserver.webhooks.review import InvalidAnswer, refusal
from shirube.apiserver.webhooks.rounds import Rounds
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

_logger = log.get("webhooks")
EVERYTHING = frozenset((CREATE, UPDATE, DELETE, CONNECT))


class Refused(Exception):
    """The webhook said no; `error` is what the client hears."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class MutatingAdmissionWebhook(Plugin):
    name = "MutatingAdmissionWebhook"
    operations = EVERYTHING
    read = staticmethod(read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._hooks = Hooks(server, MUTATINGWEBHOOKCONFIGURATIONS)
        self._caller = Caller(server)

    def configure(self, configuration: Credentials) -> None:
        self._caller.credentials = configuration

    async def mutate(self, req: AdmissionRequest) -> None:
        hooks = self._hooks.current()
        if not hooks or matching.exempt(req.resource):
            return
        rounds = req.parts.setdefault(self.name, Rounds())
        if req.second_round and rounds.last != _bytes(req):
            rounds.changed()
        for index, hook in enumerate(hooks):
            await self._one(hook, req, rounds, index)
        rounds.last = _bytes(req)

    @staticmethod
    def _annotate(hook: Hook, req: AdmissionRequest, index: int, changed: bool) -> None:
        """For the audit log: whether this webhook changed the object."""
        which = f"round_{int(req.second_round)}_index_{index}"
        told = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        req.annotate(f"mutation.webhook.admission.k8s.io/{which}", orjson.dumps(told).decode())

    async def _one(self, hook: Hook, req: AdmissionRequest, rounds: Rounds, index: int) -> None:
        resource = await hook.concerns(self.server, req)
        if resource is None or (req.second_round and hook.uid not in rounds.again):
            return
        usable(hook, req)
        asked = Asked(self.server, hook, req, "admit")
        changed = False
        try:
            changed = await self._call(hook, req, resource)
        except Refused as refused:
            asked.refused(refused.error.code)
            raise refused.error from None
        except ApiError as error:
            asked.failed(error)
            raise
        except (CallFailed, InvalidAnswer) as error:
            asked.not_called(error, fails_closed=hook.fails_closed)
            why = f"failed calling webhook {quote(hook.name)}: {error}"
            if hook.fails_closed:
                raise errors.internal_error(why) from error
            _logger.warning("failed open", webhook=hook.name, error=str(error))
            return
        asked.allowed()
        self._annotate(hook, req, index, changed)
        if changed:
            rounds.changed()
            req.again = True
        if hook.reinvocable:
            rounds.called.add(hook.uid)

    async def _call(self, hook: Hook, req: AdmissionRequest, resource: Resource) -> bool:
        """Whether the object is another one now. Raises CallFailed, InvalidAnswer, ApiError."""
        verdict = await ask(self._caller, hook, req, resource, mutating=True)
        req.warnings += verdict.warnings
        note(req, hook, verdict)
        if not verdict.allowed:
            raise Refused(refusal(hook.name, verdict.status))
        if not verdict.patch:
            return False
        if req.obj is None:
            why = (
                f"admission webhook {quote(hook.name)} attempted to modify the object, "
                "which is not supported for this operation"
            )
            raise errors.internal_error(why)
        shown = await versions.shown(req.obj, req.resource, resource)
        assert shown is not None
        before = versions.plain(shown)
        try:
            after = json_patch.apply(before, verdict.patch)
        except ApiError as error:
            causes = [c.get("message", "") for c in error.causes]
            raise errors.internal_error(", ".join(causes) or error.message) from error
        if after == before:
            return False
        after = versions.settled(after, resource)
        if after.get("kind") == resource.kind:
            after = await versions.convert(after, resource, req.resource)
        req.obj = after
        return True


def _bytes(req: AdmissionRequest) -> bytes:
    return orjson.dumps(req.obj)
