"""Validation of probes and lifecycle hooks: what runs against a container, and when.

Follows core's ``validateProbe``, ``validateLifecycle`` and ``validateHandler``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, forbidden, invalid, not_supported, required

Obj = Mapping[str, Any]

NOT_NEGATIVE = "must be greater than or equal to 0"
_TIMINGS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def validate_port(out: list[Cause], port: Any, path: str) -> None:
    """A port by number or by name."""
    if isinstance(port, int):
        if not 1 <= port <= 65535:
            out.extend(invalid(path, port, m) for m in names.is_port_number(port))
    elif port is None:
        out.extend(invalid(path, 0, m) for m in names.is_port_number(0))
    else:
        out.extend(invalid(path, port, m) for m in names.is_port_name(port))


def _http_get(out: list[Cause], action: Obj, path: str, grace: int) -> None:
    if not action.get("path"):
        out.append(required(f"{path}.path"))
    validate_port(out, action.get("port"), f"{path}.port")
    scheme = action.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        out.append(not_supported(f"{path}.scheme", scheme, ["HTTP", "HTTPS"]))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        out.extend(invalid(f"{path}.httpHeaders", name, m) for m in names.is_http_header_name(name))


def _exec(out: list[Cause], action: Obj, path: str, grace: int) -> None:
    if not action.get("command"):
        out.append(required(f"{path}.command"))


def _tcp_socket(out: list[Cause], action: Obj, path: str, grace: int) -> None:
    validate_port(out, action.get("port"), f"{path}.port")


def _grpc(out: list[Cause], action: Obj, path: str, grace: int) -> None:
    port = action.get("port", 0)
    out.extend(invalid(f"{path}.port", port, m) for m in names.is_port_number(port))


def _sleep(out: list[Cause], action: Obj, path: str, grace: int) -> None:
    seconds = action.get("seconds", 0)
    if seconds < 0 or seconds > grace:
        detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        out.append(invalid(path, seconds, detail))


_HANDLERS = {"exec": _exec, "httpGet": _http_get, "tcpSocket": _tcp_socket, "grpc": _grpc, "sleep": _sleep}


def _validate_handler(out: list[Cause], handler: Obj, path: str, grace: int) -> None:
    found = False
    for field, check in _HANDLERS.items():
        action = handler.get(field)
        if action is None:
            continue
        if found:
            out.append(forbidden(f"{path}.{field}", "may not specify more than 1 handler type"))
        else:
            found = True
            check(out, action, f"{path}.{field}", grace)
    if not found:
        out.append(required(path, "must specify a handler type"))


def _validate_probe(out: list[Cause], probe: Obj, path: str, grace: int) -> None:
    _validate_handler(out, probe, path, grace)
    for field in _TIMINGS:
        if probe.get(field, 0) < 0:
            out.append(invalid(f"{path}.{field}", probe[field], NOT_NEGATIVE))
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        out.append(invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0"))


def validate_probes(out: list[Cause], container: Obj, path: str, grace: int) -> None:
    """The liveness, readiness and startup probes of a container."""
    for field in ("livenessProbe", "startupProbe"):
        if (probe := container.get(field)) is not None:
            _validate_probe(out, probe, f"{path}.{field}", grace)
            if probe.get("successThreshold", 1) != 1:
                at = f"{path}.{field}.successThreshold"
                out.append(invalid(at, probe["successThreshold"], "must be 1"))
    if (probe := container.get("readinessProbe")) is not None:
        at = f"{path}.readinessProbe"
        _validate_probe(out, probe, at, grace)
        if (seconds := probe.get("terminationGracePeriodSeconds")) is not None:
            at = f"{at}.terminationGracePeriodSeconds"
            out.append(invalid(at, seconds, "must not be set for readinessProbes"))


def validate_lifecycle(out: list[Cause], lifecycle: Obj, path: str, grace: int, os: str) -> None:
    """What runs after the start and before the stop of a container, and the signal that stops it."""
    for field in ("postStart", "preStop"):
        if (handler := lifecycle.get(field)) is not None:
            _validate_handler(out, handler, f"{path}.{field}", grace)
    if (signal := lifecycle.get("stopSignal")) is not None:
        at = f"{path}.stopSignal"
        if not os:
            out.append(forbidden(at, "may not be set for containers with empty `spec.os.name`"))
        elif not signal.startswith("SIG"):
            out.append(not_supported(at, signal, []))
        elif os == "windows" and signal not in ("SIGTERM", "SIGKILL"):
            out.append(not_supported(at, signal, ["SIGKILL", "SIGTERM"]))
