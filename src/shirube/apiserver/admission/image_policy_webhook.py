"""ImagePolicyWebhook: somebody else says which images may run (`imagepolicy.k8s.io/v1alpha1` ImageReview). Off unless
it is configured.

The configuration is upstream's, which has no version: `imagePolicy` with `kubeConfigFile` (where the backend is, and
who we are to it), `allowTTL` and `denyTTL` (seconds that an answer is remembered; -1: not at all), `retryBackoff`
(milliseconds before a second try, half as long again before each of the next) and `defaultAllow`, what counts when the
backend does not answer. A review names the images of a pod and those of its annotations that are for image policies.
Containers that are added for debugging are reviewed, too, by themselves. Redirects are not followed.
See "ImagePolicyWebhook" under "Admission Control" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.configuration_file import ConfigurationError, Fields
from shirube.apiserver.webhooks.connections import Place, Pool
from shirube.client.config import ConfigError, KubeConfig, TokenFile
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_logger = log.get("admission")

KIND = {"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview"}
AUDIT = "imagepolicywebhook.image-policy.k8s.io/"
TRIES = 5
TIMEOUT = 30.0  # seconds for one try
MAX_ANSWER = 1 << 20
_KEPT = 1024  # answers that are remembered
_GROWTH = 1.5


class Configuration(NamedTuple):
    server: KubeConfig
    allow_ttl: float  # seconds
    deny_ttl: float
    backoff: float
    default_allow: bool


class _Unanswered(Exception):
    """The backend has not said anything; the text says why."""


def read_configuration(value: Any, where: str) -> Configuration:
    """Raises ConfigurationError."""
    outer = Fields(value, where)
    fields = outer.object("imagePolicy")
    outer.done()
    if fields is None:
        raise ConfigurationError(f"{outer.at('imagePolicy')}: Required value")
    at, path = fields.at("kubeConfigFile"), fields.text("kubeConfigFile", required=True)
    if not Path(path).is_absolute():
        raise ConfigurationError(f'{at}: Invalid value: "{path}": must be an absolute file path')
    try:
        server = KubeConfig.load(path)
    except ConfigError as error:
        raise ConfigurationError(f"{at}: {error}") from error
    if server.basic:
        raise ConfigurationError(
            f"{at}: user names and passwords are not supported for the backend of ImagePolicyWebhook"
        )
    made = Configuration(
        server,
        _within(fields, "allowTTL", 300, 1800),
        _within(fields, "denyTTL", 30, 1800),
        _within(fields, "retryBackoff", 500, 300_000) / 1000,
        fields.flag("defaultAllow"),
    )
    fields.done()
    return made


def _within(fields: Fields, name: str, default: int, most: int) -> int:
    number = fields.number(name, 0) or 0
    if number == -1:  # off
        return 0
    if not 0 <= number <= most:
        raise ConfigurationError(f"{fields.at(name)}: Invalid value: {number}: must be at most {most}, or -1 for none")
    return number or default


class ImagePolicyWebhook(Plugin):
    name = "ImagePolicyWebhook"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "pods"), ("", "pods/ephemeralcontainers")))
    read = staticmethod(read_configuration)
    must_be_configured = True

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._known: OrderedDict[bytes, tuple[Json, float]] = OrderedDict()

    def configure(self, configuration: Configuration) -> None:
        self._config = configuration
        file = configuration.server.token_file
        self._token_file = TokenFile(file, self.server.clock) if file else None

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or not (spec := _spec(req, req.obj)):
            return
        try:
            status = await self._status(spec)
        except _Unanswered as error:
            if self._config.default_allow:
                _logger.warning("image policy backend does not answer, letting a pod pass", error=str(error))
                req.annotate(f"{AUDIT}failed-open", "true")
                return
            raise req.refusal(f"image policy webhook backend did not answer: {error}") from error
        for key, note in (status.get("auditAnnotations") or {}).items():
            req.annotate(AUDIT + key, str(note))
        if status.get("allowed") is not True:
            reason = status.get("reason")
            raise req.refusal(
                f"image policy webhook backend denied one or more images: {reason}"
                if reason
                else "one or more images rejected by webhook backend"
            )

    async def _status(self, spec: Json) -> Json:
        """Raises _Unanswered."""
        clock, config = self.server.clock, self._config
        key = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        held = self._known.get(key)
        if held is not None and clock.monotonic() < held[1]:
            return held[0]
        status = await self._asked(orjson.dumps({**KIND, "metadata": {}, "spec": spec}))
        ttl = config.allow_ttl if status.get("allowed") is True else config.deny_ttl
        if ttl:
            self._known[key] = (status, clock.monotonic() + ttl)
            self._known.move_to_end(key)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return status

    async def _asked(self, body: bytes) -> Json:
        why, pause = "", self._config.backoff
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
                pause *= _GROWTH
            try:
                async with asyncio.timeout(TIMEOUT):
                    code, data = await self._exchange(body)
                if code < 500 and code != 429:
                    return _read(code, data)
                why = f"it answered {code}"
            except (OSError, ValueError, ConfigError) as error:  # of TLS and of time, too
                why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise _Unanswered(why)

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        server = self._config.server
        parts = urlsplit(server.server)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        headers = [("Host", parts.netloc), ("Content-Type", "application/json"), ("Accept", "application/json")]
        if token := server.token or (self._token_file.current() if self._token_file is not None else ""):
            headers.append(("Authorization", f"Bearer {token}"))
        place = Place(host, port, server.tls_server_name or host, "", self.name)
        target = f"{parts.path or '/'}?timeout={TIMEOUT:g}s"
        return await Pool.of(self.server).post(place, server.tls, target, headers, body, MAX_ANSWER)


def _read(code: int, data: bytes) -> Json:
    """Raises _Unanswered."""
    if not 200 <= code < 300:
        raise _Unanswered(f"it answered {code}")
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer = None
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, dict):
        raise _Unanswered("it answered with something else than an ImageReview with a status")
    return status


def _spec(req: AdmissionRequest, pod: Json) -> Json:
    """What the backend is asked about; {} when there is nothing to ask."""
    spec, meta = pod.get("spec") or {}, pod.get("metadata") or {}
    if req.subresource:
        before = {(c.get("name"), c.get("image")) for c in ((req.old or {}).get("spec") or {}).get(_DEBUG) or ()}
        containers = [c for c in spec.get(_DEBUG) or () if (c.get("name"), c.get("image")) not in before]
    else:
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    if not containers:
        return {}
    about: Json = {"containers": [{"image": c.get("image", "")} for c in containers], "namespace": req.namespace}
    notes = {k: v for k, v in (meta.get("annotations") or {}).items() if ".image-policy.k8s.io/" in k}
    return {**about, "annotations": notes} if notes else about


_DEBUG = "ephemeralContainers"
