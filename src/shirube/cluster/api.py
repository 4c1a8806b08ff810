"""The few calls that `up` and `status` make to a cluster's API: blocking, over the standard library.

The command line starts faster without an event loop; everything long-lived uses `shirube.client`.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import tempfile
from pathlib import Path
from typing import Any

import orjson
import yaml


class ApiUnavailable(Exception):
    """The API server cannot be reached or refused; the message says which."""


class Api:
    """A client for one kubeconfig with embedded certificates."""

    def __init__(self, kubeconfig: Path, timeout: float = 10.0) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host, port = cluster["server"].removeprefix("https://").rsplit(":", 1)
        self._port = int(port)
        self._timeout = timeout
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile(suffix=".pem") as pair:  # mode 0600; the ssl module reads files only
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status code and body of one call; ApiUnavailable when there is no answer."""
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=self._timeout)
        try:
            data = None if body is None else orjson.dumps(body)
            connection.request(method, path, data, {"Content-Type": content_type, "User-Agent": "shirube"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnavailable(f"cannot reach the API at {self._host}:{self._port}: {error}") from error
        finally:
            connection.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """A decoded object; None when there is none; ApiUnavailable with the server's message otherwise."""
        status, data = self.request("GET", path)
        if status == 404:
            return None
        return self._checked("get", path, status, data)

    def apply(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Server-side apply as field manager `shirube`."""
        query = "?fieldManager=shirube&force=true"
        status, data = self.request("PATCH", path + query, obj, "application/apply-patch+yaml")
        return self._checked("apply", path, status, data)

    def delete(self, path: str) -> bool:
        """Whether there was something to delete."""
        status, data = self.request("DELETE", path)
        if status == 404:
            return False
        self._checked("delete", path, status, data)
        return True

    def ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except ApiUnavailable:
            return False

    @staticmethod
    def _checked(verb: str, path: str, status: int, data: bytes) -> dict[str, Any]:
        try:
            decoded: dict[str, Any] = orjson.loads(data)
        except orjson.JSONDecodeError:
            decoded = {"message": data[:200].decode(errors="replace")}
        if status >= 400:
            raise ApiUnavailable(f"cannot {verb} {path}: {decoded.get('message', status)}")
        return decoded
