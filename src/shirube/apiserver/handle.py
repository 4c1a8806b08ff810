"""One request from end to end, as a flat sequence that can be read from top to bottom.

parse, authenticate, impersonate, take a seat, authorise, route; the handler then decodes, admits, validates, stores
and encodes.
No I/O of its own: a Request comes in, a Response (or Upgrade) goes out, whether a socket, a test or the simulation
carries them. Every failure becomes a Status; what nobody foresaw is logged and answered 500.
"""

from __future__ import annotations

import asyncio

from shirube.api import errors
from shirube.apiserver import authorizing, encoding, request_info, routes, watch_socket
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication import NOBODY, impersonation
from shirube.apiserver.cannot_decrypt import CannotDecrypt
from shirube.apiserver.context import RequestContext, ServerContext
from shirube.apiserver.negotiation import JSON
from shirube.apiserver.params import Params
from shirube.apiserver.user import User
from shirube.foundation import log
from shirube.serving.messages import Disconnected, Request, Response, Upgrade
from shirube.storage.types import StorageError

_logger = log.get("apiserver")

_NOBODY = User("")
COMPLAIN_SECONDS = 5.0
_NAMED_VERBS = ("list", "watch", "deletecollection")
_SHOWN_VERBS = {verb: verb.upper() for verb in ("get", "create", "update", "patch", "delete", *_NAMED_VERBS)}


class ApiServer:
    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self._complained = float("-inf")
        self._unsaid = 0

    async def handle(self, request: Request) -> Response | Upgrade:
        """Answer a request. Raises only Disconnected and cancellation."""
        server = self.context
        started = server.clock.monotonic()
        server.metrics.in_flight += 1
        rc: RequestContext | None = None
        panic = False
        try:
            rc = self._parse(request)
            response = await self._answer(server, rc)
        except errors.ApiError as error:
            response = failure(request, rc, error)
        except CannotDecrypt as error:
            response = failure(request, rc, errors.internal_error(str(error)))
        except StorageError as error:
            self._complain(request, error)
            response = failure(request, rc, errors.service_unavailable(f"storage: {error}", 1))
        except (Disconnected, ConnectionError, asyncio.CancelledError):
            if rc is not None and rc.audit is not None and server.audit is not None:
                server.audit.abandoned(rc)
            raise
        except Exception as error:
            panic = True
            _logger.error("request failed", method=request.method, path=request.path, exc_info=error)
            response = failure(request, rc, errors.internal_error("the server failed to answer; see its log"))
        finally:
            server.metrics.in_flight -= 1
        if rc is not None and rc.flow is not None and isinstance(response, Response):
            response.headers = [*response.headers, *rc.flow.headers]
        self._observe(rc, response, started)
        if rc is not None and rc.audit is not None and server.audit is not None:
            server.audit.answered(rc, response, panic)
        return response

    def _complain(self, request: Request, error: StorageError) -> None:
        """A store that is away or full fails every request; one line in five seconds says as much."""
        self._unsaid += 1
        now = self.context.clock.monotonic()
        if now - self._complained >= COMPLAIN_SECONDS:
            _logger.error(
                "storage failed", requests=self._unsaid, method=request.method, path=request.path, error=str(error)
            )
            self._complained, self._unsaid = now, 0

    def _parse(self, request: Request) -> RequestContext:
        server = self.context
        params = Params(request.query)
        info = request_info.parse(request.method, request.path, params.flag("watch"))
        attributes = Attributes(
            _NOBODY,
            info.verb,
            info.group,
            info.version,
            info.resource,
            info.subresource,
            info.namespace,
            info.name,
            info.path,
            info.is_resource,
        )
        audit_id = request.headers.get("audit-id") or server.chance.uid()
        rc = RequestContext(server, request, info, params, _NOBODY, attributes, audit_id[:64])
        if info.is_resource:
            rc.resource = server.table.by_path(info.group, info.version, info.resource)
            if params.given:
                attributes.label_selector = params.get("labelSelector")
                attributes.field_selector = params.get("fieldSelector")
                if not info.name and info.verb in _NAMED_VERBS and attributes.field_selector:
                    attributes.name = _only_name(attributes.field_selector)
        return rc

    async def _answer(self, server: ServerContext, rc: RequestContext) -> Response | Upgrade:
        request, attributes = rc.request, rc.attributes
        try:
            user = await server.authenticator.authenticate(request.headers, request.peer, rc)
            if user is NOBODY:
                server.authenticator.check_anonymous(request.path)
        except errors.ApiError as error:
            if server.audit is not None:
                server.audit.refused_login(rc, error)
            raise
        attributes.user = user
        if server.audit is not None:
            await server.audit.begin(rc)
        if request.headers.any_begins("impersonate-"):
            acting = await impersonation.impersonate(server.authorizer, attributes, request.headers)
            if acting is not None:
                user = attributes.user = acting.user
                if server.audit is not None:
                    server.audit.acts_as(rc, user, acting.constraint)
        rc.user = user
        rc.flow = flow = server.fairness.classify(rc)
        ticket = await server.fairness.enter(flow, rc) if flow is not None else None
        if ticket is None:
            return await self._authorised(server, rc)
        try:
            response = await self._authorised(server, rc)
        except BaseException:
            server.fairness.leave(ticket)
            raise
        server.fairness.answered(ticket, rc, response)
        return response

    async def _authorised(self, server: ServerContext, rc: RequestContext) -> Response | Upgrade:
        request, attributes = rc.request, rc.attributes
        if rc.info.is_resource:
            await authorizing.check(server, attributes, rc.audit)
            handler = routes.resource_route(server, rc)
        else:
            route = routes.path_route(rc.info.path)
            if route is None or route.authorised == "path":
                await authorizing.check(server, attributes, rc.audit)
            if route is None:
                return encoding.respond_raw(rc, b"404 page not found\n", "text/plain; charset=utf-8", 404)
            if request.method not in route.methods:
                raise errors.method_not_allowed()
            handler = route.handler
        response = await handler(server, rc)
        if rc.info.verb == "watch" and isinstance(response, Response) and watch_socket.asked(rc):
            return await watch_socket.upgraded(rc, response)
        return response

    def _observe(self, rc: RequestContext | None, response: Response | Upgrade, started: float) -> None:
        status = response.status if isinstance(response, Response) else 101
        key = ("", "", "", "", "")
        if rc is not None and rc.info.is_resource and rc.resource is not None:
            info = rc.info
            known = info.subresource if info.subresource in rc.resource.subresources else ""
            key = (_SHOWN_VERBS.get(info.verb, ""), info.group, info.version, info.resource, known)
        elif rc is not None and not rc.info.is_resource:
            key = (rc.request.method if rc.request.method in ("GET", "HEAD") else "", "", "", "", "")
        server = self.context
        server.metrics.observe(key, status, server.clock.monotonic() - started)


def _only_name(field_selector: str) -> str:
    """`metadata.name=x` pins a list down to one name: roles with resourceNames may allow it."""
    from shirube.api import selectors

    try:
        name = selectors.parse_field_selector(field_selector).exact("metadata.name") or ""
    except errors.ApiError:
        return ""  # reported by whoever reads the selector
    return "" if "/" in name or "%" in name or name in (".", "..") else name


def failure(request: Request, rc: RequestContext | None, error: errors.ApiError) -> Response:
    """The Status that answers a failed request."""
    if rc is None:
        headers = [encoding.NO_CACHE]
        response = Response(error.code, encoding.serialize(error.status(), JSON), headers)
    else:
        try:
            response = encoding.respond(rc, error.status(), error.code)
        except errors.ApiError:  # nothing that we speak is accepted: JSON, as upstream
            response = Response(error.code, encoding.serialize(error.status(), JSON), encoding.headers(rc))
    response.headers += error.headers.items()
    return response
