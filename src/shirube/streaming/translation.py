"""What moves bytes between a client and a runtime that speak different protocols: the shape of a translation.

The mover feeds `from_client` and `from_runtime`, and after each takes and sends what there is for either side.
"""

from __future__ import annotations

from typing import Protocol


class Translation(Protocol):
    @property
    def accepts_client(self) -> bool:
        """False while the client must not be read yet: the runtime is not ready for what it sends."""
        ...

    @property
    def client_done(self) -> bool:
        """The client has said that it is done, or is gone: nothing more comes from it."""
        ...

    @property
    def runtime_done(self) -> bool:
        """All that there is for the client has been made, its close included."""
        ...

    def from_client(self, data: bytes) -> None:
        """b"" when the client is gone."""
        ...

    def from_runtime(self, data: bytes) -> None:
        """b"" when the runtime is gone."""
        ...

    def take_for_client(self) -> bytes: ...

    def take_for_runtime(self) -> bytes: ...
