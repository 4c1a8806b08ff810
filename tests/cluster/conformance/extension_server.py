"""A program: a small extension API server (wardle.example.com/v1alpha1, flunders) behind our aggregation layer.

extension_server.py CERTIFICATE KEY REQUESTHEADER_CA ADDRESS PORT

It believes X-Remote-User only of who shows a certificate of REQUESTHEADER_CA, keeps objects in memory, and says in each
object it makes who asked. Discovery, OpenAPI v2 and watches are what clients need of it.
"""

from __future__ import annotations

import itertools
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

GROUP, VERSION = "wardle.example.com", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
ROOT = f"/apis/{API_VERSION}"
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
FLUNDER = {
    "type": "object",
    "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": "Flunder"}],
}
NAMED = {"groupVersion": API_VERSION, "version": VERSION}

Obj = dict[str, Any]
DOCUMENTS: dict[str, Obj] = {
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": GROUP, "versions": [NAMED]}]},
    f"/apis/{GROUP}": {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [NAMED]},
    ROOT: {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": VERBS}
        ],
    },
    "/openapi/v2": {
        "swagger": "2.0",
        "info": {"title": "wardle", "version": "v1"},
        "paths": {
            f"{ROOT}/namespaces/{{namespace}}/flunders": {
                "get": {"responses": {"200": {"schema": {"$ref": "#/definitions/com.example.wardle.Flunder"}}}}
            }
        },
        "definitions": {"com.example.wardle.Flunder": FLUNDER},
    },
    "/openapi/v3": {"paths": {f"apis/{API_VERSION}": {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}},
    f"/openapi/v3{ROOT}": {
        "openapi": "3.0.0",
        "info": {"title": "wardle", "version": "v1"},
        "paths": {},
        "components": {"schemas": {"com.example.wardle.Flunder": FLUNDER}},
    },
}
OBJECTS: dict[tuple[str, str], Obj] = {}
EVENTS: list[tuple[str, Obj]] = []
NEWS = threading.Condition()
_revisions = itertools.count(1)


class Answered(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        try:
            if not self.connection.getpeercert():
                raise Answered(401, "Unauthorized", "only the front proxy is believed")
            if split.path.rstrip("/") in DOCUMENTS:
                self._send(200, DOCUMENTS[split.path.rstrip("/")])
                return
            parts = split.path.removeprefix(f"{ROOT}/namespaces/").split("/")
            if not split.path.startswith(ROOT) or len(parts) < 2 or parts[1] != "flunders":
                raise Answered(404, "NotFound", f"no such path: {split.path}")
            if "watch" in parse_qs(split.query):
                self._watch(parts[0])
                return
            code, answer = self._object(parts[0], parts[2] if len(parts) > 2 else "", body)
            self._send(code, answer)
        except Answered as answered:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(answered)}
            self._send(answered.code, {**status, "reason": answered.reason, "code": answered.code})

    do_GET = do_POST = do_PUT = do_DELETE = _do

    def _object(self, namespace: str, name: str, body: Obj) -> tuple[int, Obj]:
        if self.command == "POST":
            name = body["metadata"]["name"]
            made = {**body["metadata"], "namespace": namespace, "uid": f"uid-{namespace}-{name}"}
            made["annotations"] = {"asked-by": self.headers.get("X-Remote-User")}
            return 201, _store("ADDED", {"apiVersion": API_VERSION, "kind": "Flunder", **body, "metadata": made})
        if not name:
            items = [obj for (where, _), obj in sorted(OBJECTS.items()) if where == namespace]
            if self.command == "DELETE":
                for obj in items:
                    _store("DELETED", obj)
            meta = {"resourceVersion": str(len(EVENTS))}
            return 200, {"apiVersion": API_VERSION, "kind": "FlunderList", "metadata": meta, "items": items}
        found = OBJECTS.get((namespace, name))
        if found is None:
            raise Answered(404, "NotFound", f'flunders.{GROUP} "{name}" not found')
        if self.command == "DELETE":
            return 200, _store("DELETED", found)
        return 200, _store("MODIFIED", body) if self.command == "PUT" else found

    def _watch(self, namespace: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in itertools.count():
            with NEWS:
                NEWS.wait_for(lambda seen=at: len(EVENTS) > seen)
                kind, obj = EVENTS[at]
            if obj["metadata"]["namespace"] != namespace:
                continue
            line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def _send(self, code: int, answer: Obj) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: tests look at answers."""


def _store(kind: str, obj: Obj) -> Obj:
    with NEWS:
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next(_revisions))}}
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if kind == "DELETED":
            del OBJECTS[key]
        else:
            OBJECTS[key] = obj
        EVENTS.append((kind, obj))
        NEWS.notify_all()
    return obj


def main() -> None:
    certificate, key, ca, address, port = sys.argv[1:]
    server = ThreadingHTTPServer((address, int(port)), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
