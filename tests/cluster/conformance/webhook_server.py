"""A program: admission webhooks behind TLS, each at a path of its own, in the control plane's network namespace.

webhook_server.py CERTIFICATE KEY ADDRESS PORT
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any]


def deny(message: str) -> Answer:
    return {"allowed": False, "status": {"message": message}}


def patch(*operations: Answer) -> Answer:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def add(path: str, value: Any) -> Answer:
    return {"op": "add", "path": path, "value": value}


def always_deny(asked: Answer) -> Answer:
    return deny("this webhook denies all requests")


def unwanted_data(asked: Answer) -> Answer:
    """Denies objects with the label or data webhook-e2e-test=webhook-disallow; hangs where that is asked for."""
    obj = asked.get("object") or asked.get("oldObject") or {}
    values = {**(obj.get("metadata", {}).get("labels") or {}), **(obj.get("data") or {})}
    if values.get("webhook-e2e-test") == "wait-forever":
        threading.Event().wait(30)
    if values.get("webhook-e2e-test") == "webhook-disallow":
        return deny("the object contains unwanted key and value")
    return {"allowed": True}


def slow(asked: Answer) -> Answer:
    threading.Event().wait(2)
    return {"allowed": True}


def mutate_data(asked: Answer) -> Answer:
    """Each of two stages adds a key when it finds what came before it."""
    data = asked["object"].get("data") or {}
    found = []
    if data.get("mutation-start") == "yes":
        found.append(add("/data/mutation-stage-1", "yes"))
    if data.get("mutation-stage-1") == "yes":
        found.append(add("/data/mutation-stage-2", "yes"))
    return patch(*found) if found else {"allowed": True}


def add_init_container(asked: Answer) -> Answer:
    container = {"name": "webhook-added-init-container", "image": "webhook-added-image", "resources": {}}
    return patch(add("/spec/initContainers", [container]))


def add_label(asked: Answer) -> Answer:
    return patch(add("/metadata/labels", {"added-label": "yes"}))


def convert(asked: Answer) -> Answer:
    """v1 has hostPort, v2 has host and port."""
    converted = []
    for obj in asked["objects"]:
        new = {**obj, "apiVersion": asked["desiredAPIVersion"]}
        if asked["desiredAPIVersion"].endswith("/v2") and "hostPort" in obj:
            new["host"], new["port"] = new.pop("hostPort").split(":")
        elif asked["desiredAPIVersion"].endswith("/v1") and "host" in obj:
            new["hostPort"] = f"{new.pop('host')}:{new.pop('port')}"
        converted.append(new)
    return {"result": {"status": "Success"}, "convertedObjects": converted}


PATHS = {
    "/convert": convert,
    "/always-deny": always_deny,
    "/unwanted-data": unwanted_data,
    "/slow": slow,
    "/mutate-data": mutate_data,
    "/add-init-container": add_init_container,
    "/add-label": add_label,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = review["request"]
        response = {"uid": asked["uid"], **PATHS[self.path.split("?")[0]](asked)}
        kind = {"apiVersion": review["apiVersion"], "kind": review["kind"]}
        body = json.dumps({**kind, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: tests look at answers."""


def main() -> None:
    certificate, key, address, port = sys.argv[1:]
    server = ThreadingHTTPServer((address, int(port)), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
