"""Asking somebody else: a SubjectAccessReview sent to a webhook, its answer remembered for a while.

Match conditions (CEL over the spec of the review) decide whether the webhook is asked at all. One that cannot be
reached or makes no sense has no opinion, or denies, as its failurePolicy says. Redirects are not followed.
See "Webhook Mode" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from shirube.api import selectors
from shirube.api.cel import CelError
from shirube.api.errors import ApiError
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization.configuration import WebhookConfig
from shirube.apiserver.authorization.decision import Decision
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.client.config import ConfigError, KubeConfig, TokenFile
from shirube.foundation import log
from shirube.foundation.clock import Clock

Json = dict[str, Any]
_logger = log.get("authorization")

_LABEL_OPERATORS = {
    "=": "In",
    "==": "In",
    "in": "In",
    "!=": "NotIn",
    "notin": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
MAX_ANSWER = 1 << 20
TRIES = 2
_CACHED = 8192


class _Remembered(NamedTuple):
    decision: Decision
    until: float  # monotonic


class Unreachable(Exception):
    """The webhook did not answer, or not with a review."""


class Webhook:
    def __init__(self, config: WebhookConfig, clock: Clock) -> None:
        """Raises ConfigurationError when its kubeconfig cannot be used."""
        self._config = config
        self._clock = clock
        self._known: OrderedDict[bytes, _Remembered] = OrderedDict()
        try:
            self._server = KubeConfig.load(config.kubeconfig) if config.kubeconfig else KubeConfig.in_cluster()
        except ConfigError as error:
            raise ConfigurationError(f"webhook {config.name}: {error}") from error
        self._token_file = TokenFile(self._server.token_file, clock) if self._server.token_file else None

    async def authorize(self, a: Attributes) -> Decision | None:
        """None: no opinion."""
        spec = spec_of(a)
        failed = Decision(False, f"webhook {self._config.name!r} failed", True) if self._config.fails_closed else None
        try:
            if not self._concerns(spec):
                return None
            return await self._asked(spec)
        except (CelError, Unreachable) as error:
            _logger.error("authorization webhook failed", webhook=self._config.name, error=str(error))
            return failed

    def _concerns(self, spec: Json) -> bool:
        """Whether all conditions hold. Raises CelError when none is false and one cannot be evaluated."""
        problem: CelError | None = None
        for condition in self._config.conditions:
            try:
                if condition.evaluate({"request": spec}) is not True:
                    return False
            except CelError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return True

    async def _asked(self, spec: Json) -> Decision | None:
        body = orjson.dumps(
            {
                "apiVersion": f"authorization.k8s.io/{self._config.version}",
                "kind": "SubjectAccessReview",
                "metadata": {"creationTimestamp": None},
                "spec": spec if self._config.version == "v1" else _older(spec),
            }
        )
        held = self._known.get(body)
        if held is not None and self._clock.monotonic() < held.until:
            return held.decision if held.decision.allowed or held.decision.final else None
        decision = _decision(await self._answer(body))
        config = self._config
        keep, seconds = (
            (config.cache_authorized, config.authorized_ttl)
            if decision.allowed
            else (config.cache_unauthorized, config.unauthorized_ttl)
        )
        if keep and seconds and len(body) < 10_000:
            self._known[body] = _Remembered(decision, self._clock.monotonic() + seconds)
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return decision if decision.allowed or decision.final else None

    async def _answer(self, body: bytes) -> Json:
        why = ""
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(self._config.timeout):
                    status, data = await self._exchange(body)
            except TimeoutError:
                why = "no answer in time"
                continue
            except (OSError, ssl.SSLError, ValueError, ConfigError) as error:
                why = str(error) or type(error).__name__
                continue
            if status >= 500 or status == 429:
                why = f"answered {status}"
                continue
            if status not in (200, 201):
                raise Unreachable(f"answered {status}")
            try:
                answer = orjson.loads(data)
            except orjson.JSONDecodeError:
                answer = None
            if not isinstance(answer, dict) or not isinstance(answer.get("status"), dict):
                raise Unreachable("the answer is no SubjectAccessReview with a status")
            found: Json = answer["status"]
            return found
        raise Unreachable(why)

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        # Here, because handlers import authorisation.
        from shirube.apiserver.subresources import http_stream

        server = self._server
        parts = urlsplit(server.server)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        headers = [
            ("Host", parts.netloc),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("User-Agent", "kube-apiserver"),
        ]
        if token := server.token or (self._token_file.current() if self._token_file is not None else ""):
            headers.append(("Authorization", f"Bearer {token}"))
        elif server.basic:
            raise ConfigError("user names and passwords are not supported for webhooks")

        answer = await http_stream.exchange(
            host,
            port,
            "POST",
            f"{parts.path or '/'}?timeout={self._config.timeout:g}s",
            headers,
            server.tls if secure else None,
            body=_once(body),
            length=len(body),
            server_hostname=server.tls_server_name or host,
        )
        return answer.status, await http_stream.read_all(answer.body, MAX_ANSWER)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def spec_of(a: Attributes) -> Json:
    """The spec of a SubjectAccessReview that asks the same question."""
    spec: Json = {"user": a.user.name, "groups": list(a.user.groups)}
    if a.user.uid:
        spec["uid"] = a.user.uid
    if a.user.extra:
        spec["extra"] = {key: list(values) for key, values in a.user.extra.items()}
    if not a.is_resource:
        spec["nonResourceAttributes"] = {"path": a.path, "verb": a.verb}
        return spec
    about: Json = {
        "namespace": a.namespace,
        "verb": a.verb,
        "group": a.group,
        "version": a.version,
        "resource": a.resource,
        "subresource": a.subresource,
        "name": a.name,
    }
    spec["resourceAttributes"] = {key: value for key, value in about.items() if value}
    for name, found in (("fieldSelector", _fields(a.field_selector)), ("labelSelector", _labels(a.label_selector))):
        if found:
            spec["resourceAttributes"][name] = {"requirements": found}
    return spec


def _fields(text: str) -> list[Json]:
    """A field selector as requirements; none of one that cannot be read: the request will be refused for it."""
    try:
        terms = selectors.parse_field_selector(text).requirements if text else ()
    except ApiError:
        return []
    operators = {"=": "In", "==": "In", "!=": "NotIn"}
    return [{"key": field, "operator": operators[op], "values": [value]} for field, op, value in terms]


def _labels(text: str) -> list[Json]:
    try:
        terms = selectors.parse_label_selector(text).requirements if text else ()
    except ApiError:
        return []
    return [
        {"key": term.key, "operator": _LABEL_OPERATORS[term.operator], "values": sorted(term.values)}
        if term.operator not in ("exists", "!")
        else {"key": term.key, "operator": _LABEL_OPERATORS[term.operator]}
        for term in terms
        if term.operator in _LABEL_OPERATORS  # as upstream: a comparison is left out, which asks for more
    ]


def _older(spec: Json) -> Json:
    """As v1beta1 names its fields."""
    spec = dict(spec)
    spec["group"] = spec.pop("groups")
    return spec


def _decision(status: Json) -> Decision:
    allowed, denied = status.get("allowed") is True, status.get("denied") is True
    reason = status.get("reason")
    if allowed and denied:
        raise Unreachable("the answer both allows and denies")
    return Decision(allowed, reason if isinstance(reason, str) else "", denied)
