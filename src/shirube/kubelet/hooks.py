"""postStart and preStop: exec, httpGet, sleep.

Follows https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/. A hook may run longer than
any probe: its bound is the container's grace period, which the caller keeps.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from shirube import KUBERNETES_VERSION
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.probes.check import PortError, Target, dial_error, http_get, http_url


class HookError(Exception):
    """A lifecycle hook failed."""


async def run_hook(runtime: Runtime, handler: Mapping[str, Any], target: Target) -> None:
    """Run one lifecycle handler to its end. Raises HookError."""
    if (spec := handler.get("exec")) is not None:
        await _exec(runtime, spec.get("command") or [], target)
    elif (spec := handler.get("httpGet")) is not None:
        await _http(spec, target)
    elif (spec := handler.get("sleep")) is not None:
        await asyncio.sleep(float(spec.get("seconds") or 0))
    elif handler:
        raise HookError(f"invalid handler: {', '.join(sorted(handler))} is not a lifecycle action")


async def _exec(runtime: Runtime, command: list[str], target: Target) -> None:
    try:
        answer = await runtime.call("ExecSync", deadline=None, container_id=target.container_id, cmd=command)
    except CriError as error:
        raise HookError(str(error)) from error
    if answer.exit_code != 0:
        output = (answer.stdout + answer.stderr)[:1024].decode("utf-8", "replace").strip()
        raise HookError(f"command '{' '.join(command)}' exited with {answer.exit_code}: {output}")


async def _http(spec: Mapping[str, Any], target: Target) -> None:
    headers = {"User-Agent": f"kube-lifecycle/{KUBERNETES_VERSION[1:5]}", "Accept": "*/*"}
    headers |= {h["name"]: h.get("value") or "" for h in spec.get("httpHeaders") or ()}
    try:
        url = http_url(spec, target)
        # Any answer will do: the hook tells the container something, it does not ask.
        await http_get(url, headers)
    except PortError as error:
        raise HookError(str(error)) from error
    except (OSError, ssl.SSLError, ValueError, EOFError) as error:
        raise HookError(f'Get "{url}": {dial_error(url, error)}') from error
