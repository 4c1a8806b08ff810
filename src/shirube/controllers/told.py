"""What a controller last found an object's status to be: seeing that come back is no news.

Most status writes come back as an update that changes nothing else. A reconcile for each of them would look at all of
an object's pods to find what the one before it wrote. `echo` tells such an update from all others: only the status
differs, and it is what the last reconcile came to. That is remembered whether it was written or not, before it is sent:
whatever order writes, refusals and events come in, a status that is not what was last found right is news.
"""

from __future__ import annotations

from collections.abc import Callable

from shirube.client.informer import key_of
from shirube.client.rest import Object

_VERSION = "resourceVersion"


class Told:
    def __init__(self, normal: Callable[[Object], Object] = lambda status: status) -> None:
        """`normal` makes statuses equal that say the same."""
        self._normal = normal
        self._statuses: dict[str, Object] = {}

    def remember(self, key: str, status: Object) -> None:
        """What a reconcile has found, in the normal form; to be said before it is sent."""
        self._statuses[key] = status

    def forget(self, key: str) -> None:
        self._statuses.pop(key, None)

    def echo(self, old: Object, new: Object) -> bool:
        """Whether this update tells the controller nothing. The object's kind must have generations."""
        status = self._statuses.get(key_of(new))
        if status is None or old is new or self._normal(new.get("status") or {}) != status:
            return False
        before, after = old["metadata"], new["metadata"]
        return len(before) == len(after) and all(v == before.get(k) for k, v in after.items() if k != _VERSION)
