"""Images: whether a container's image is there, and pulling it when its policy says so.

One pull runs for an image at a time, however many containers wait for it, and only so many at once on the node;
who came first goes first. A failed pull backs off (10 s
doubling to 300 s): ErrImagePull when it fails, ImagePullBackOff while it waits. Texts are upstream's.
Follows https://kubernetes.io/docs/concepts/containers/images/.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shirube.foundation.clock import Clock
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.restart_backoff import RestartBackoff

PULL_TIMEOUT = 600.0


class ImageError(Exception):
    """The image cannot be used. `reason` is what the container waits for; retry at `retry_at` if given."""

    def __init__(self, reason: str, message: str, retry_at: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


def default_tag(image: str) -> str:
    """`image` with `:latest` when it names neither tag nor digest."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else image + ":latest"


def pull_policy(container: Mapping[str, Any]) -> str:
    if policy := container.get("imagePullPolicy"):
        return str(policy)
    return "Always" if default_tag(container.get("image", "")).endswith(":latest") else "IfNotPresent"


class Images:
    def __init__(self, runtime: Runtime, clock: Clock, most_at_once: int = 0) -> None:
        """`most_at_once` pulls run in parallel; 0 is no limit."""
        self._runtime = runtime
        self._clock = clock
        self._pulls: dict[tuple[str, bytes], asyncio.Task[Any]] = {}
        self._slots = asyncio.Semaphore(most_at_once) if most_at_once else None
        self._backoff = RestartBackoff()
        self._failures: dict[tuple[str, str], tuple[float, str]] = {}  # (pod UID, image) -> when, why

    async def status(self, image: str) -> Any | None:
        """The CRI `Image`, or None when it is not on the node. Raises CriError."""
        answer = await self._runtime.call("ImageStatus", image={"image": image})
        return answer.image if answer.HasField("image") and answer.image.id else None

    async def list(self) -> list[Any]:
        return list((await self._runtime.call("ListImages")).images)

    async def ensure(
        self, pod_uid: str, container: Mapping[str, Any], secrets: Sequence[Mapping[str, Any]], tell: Any
    ) -> Any:
        """The CRI `Image` that the container runs, pulled if need be. Raises ImageError.

        `tell(type, reason, message)` records events; `secrets` are the pod's imagePullSecrets.
        """
        name = container.get("image", "")
        image = default_tag(name)
        policy = pull_policy(container)
        present = await self.status(image)
        if present is not None and policy != "Always":
            tell("Normal", "Pulled", _already_present(name))
            return present
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message)
        self._refuse_while_backing_off(pod_uid, image, name, tell)
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        began = self._clock.monotonic()
        try:
            pulled, took = await self._pull(image, _credentials(image, secrets))
        except (CriError, TimeoutError) as error:
            self._failed(pod_uid, image, error)
            tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
            tell("Warning", "Failed", "Error: ErrImagePull")
            # Asked again in a moment, it is refused until the back-off has passed.
            raise ImageError("ErrImagePull", str(error)) from error
        waited = self._clock.monotonic() - began
        self._failures.pop((pod_uid, image), None)
        tell("Normal", "Pulled", _pulled(name, took, waited, pulled.size))
        return pulled

    def _refuse_while_backing_off(self, pod_uid: str, image: str, name: str, tell: Any) -> None:
        failed = self._failures.get((pod_uid, image))
        if failed is None:
            return
        when, why = failed
        until = self._backoff.until((pod_uid, image, ""), when)
        if until > self._clock.now():
            tell("Normal", "BackOff", f'Back-off pulling image "{name}"')
            tell("Warning", "Failed", "Error: ImagePullBackOff")
            raise ImageError("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {why}', until)

    def _failed(self, pod_uid: str, image: str, error: Exception) -> None:
        now = self._clock.now()
        self._backoff.next((pod_uid, image, ""), now)
        self._failures[(pod_uid, image)] = (now, str(error))

    async def _pull(self, image: str, credentials: Sequence[Mapping[str, str]]) -> Any:
        key = (image, orjson.dumps(list(credentials)))
        task = self._pulls.get(key)
        if task is None:
            task = self._pulls[key] = spawn(self._pull_in_turn(image, credentials), name=f"pull {image}")
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        outcome = await asyncio.shield(task)
        if isinstance(outcome, CriError):
            raise outcome
        return outcome

    async def _pull_in_turn(self, image: str, credentials: Sequence[Mapping[str, str]]) -> tuple[Any, float] | CriError:
        """The image, and the seconds that pulling took without waiting for its turn; or why it failed."""
        async with self._slots or contextlib.nullcontext():
            began = self._clock.monotonic()
            try:
                pulled = await self._pull_once(image, credentials)
            except CriError as error:
                return error
            return pulled, self._clock.monotonic() - began

    async def _pull_once(self, image: str, credentials: Sequence[Mapping[str, str]]) -> Any:
        error: CriError | None = None
        for auth in credentials or ({},):
            fields: dict[str, Any] = {"image": {"image": image}}
            if auth:
                fields["auth"] = auth
            try:
                await self._runtime.call("PullImage", deadline=PULL_TIMEOUT, **fields)
                error = None
                break
            except CriError as refused:
                error = refused
        if error is not None:
            raise error
        pulled = await self.status(image)
        if pulled is None:
            raise CriError("PullImage", "NOT_FOUND", f'image "{image}" is gone right after it was pulled')
        return pulled

    def forget(self, pod_uid: str) -> None:
        self._backoff.forget(pod_uid)
        for key in [key for key in self._failures if key[0] == pod_uid]:
            del self._failures[key]

    async def close(self) -> None:
        await cancel(*self._pulls.values())


def _already_present(name: str) -> str:
    return f'Container image "{name}" already present on machine and can be accessed by the pod'


def _pulled(name: str, took: float, waited: float, size: int) -> str:
    taken = f"{_duration(took)} ({_duration(waited)} including waiting)"
    return f'Successfully pulled image "{name}" in {taken}. Image size: {size} bytes.'


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.3f}s"


# -- credentials


def _credentials(image: str, secrets: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """CRI `AuthConfig`s of the pull secrets that match the image's registry, the longest match first."""
    found: list[tuple[int, dict[str, str]]] = []
    registry, path = _registry_and_path(image)
    for secret in secrets:
        for location, entry in _entries(secret).items():
            host, _, prefix = _location(location)
            if host == registry and (path + "/").startswith(prefix + "/" if prefix else ""):
                found.append((len(prefix), _auth_config(entry)))
    return [auth for _, auth in sorted(found, key=lambda item: -item[0])]


def _entries(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    """The registries of a `dockerconfigjson` or `dockercfg` secret; nothing when it is malformed."""
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            found = orjson.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths")
        elif ".dockercfg" in data:
            found = orjson.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return {}
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _registry_and_path(image: str) -> tuple[str, str]:
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "index.docker.io", image


def _location(text: str) -> tuple[str, str, str]:
    bare = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, slash, path = bare.partition("/")
    if path in ("v1", "v2"):
        path = ""
    if host == "docker.io":
        host = "index.docker.io"
    return host, slash, path


def _auth_config(entry: Mapping[str, Any]) -> dict[str, str]:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if not user and entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return {}
    found = {"username": user, "password": password.rstrip("\0")}
    if entry.get("identitytoken"):
        found["identity_token"] = entry["identitytoken"]
    return found
