"""A web and UDP server for pods, and a client in one: what upstream's `agnhost netexec` does for its tests.

Runs alone under this machine's Python, which pods have mounted (`net_pods.server`): standard library only.

    GET /hostname          the name of the pod
    GET /clientip          who asks
    GET /dial?host=&port=&protocol=&request=&tries=   asks others: the distinct answers, as JSON
    GET /query?name=&type= one question to the pod's first nameserver, as JSON; `search=1`: with its search path
    GET /file?path=        a file of the pod
    GET /bytes?count=      so many bytes
    other methods, /echo…  what was asked, as JSON
UDP answers `hostname` and `clientip`, and echoes what follows `echo `.
"""

import http.client
import json
import os
import pathlib
import socket
import ssl
import struct
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}


def name_at(packet, at):
    labels = []
    while length := packet[at]:
        if length & 0xC0:
            pointed = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
            return ".".join([*labels, name_at(packet, pointed)[0]]), at + 2
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += length + 1
    return ".".join(labels), at + 1


def data_at(packet, at, kind, length):
    if kind in (1, 28):
        return socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, packet[at : at + length])
    if kind == 33:
        return f"{struct.unpack_from('!H', packet, at + 4)[0]} {name_at(packet, at + 6)[0]}"
    return name_at(packet, at)[0] if kind in (5, 12) else packet[at + 1 : at + length].decode()


def ask(server, name, kind):
    """(answer code, [type, data] of each answer)."""
    question = b"".join(bytes([len(p)]) + p.encode() for p in name.rstrip(".").split(".")) + b"\0"
    packet = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", TYPES[kind], 1)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((server, 53))
        client.send(packet)
        reply = client.recv(4096)
    at, answers = 12 + len(question) + 4, []
    for _ in range(struct.unpack_from("!H", reply, 6)[0]):
        _, at = name_at(reply, at)
        found, _, _, length = struct.unpack_from("!2HIH", reply, at)
        answers.append(
            [next((n for n, v in TYPES.items() if v == found), found), data_at(reply, at + 10, found, length)]
        )
        at += 10 + length
    return reply[3] & 0xF, answers


def query(name, kind, search):
    lines = [line.split() for line in pathlib.Path("/etc/resolv.conf").read_text().splitlines() if line.split()]
    server = next(words[1] for words in lines if words[0] == "nameserver")
    suffixes = next((words[1:] for words in lines if words[0] == "search"), []) if search else []
    code, answers = 3, []
    for candidate in [*(f"{name}.{s}" for s in suffixes), name]:
        code, answers = ask(server, candidate, kind)
        if answers:
            break
    return {"code": code, "answers": answers}


def dial_once(host, port, protocol, request):
    if protocol == "http":
        connection = http.client.HTTPConnection(host, port, timeout=2)
        connection.request("GET", "/" + request)
        return connection.getresponse().read().decode()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((host, port))
        client.send(request.encode())
        return client.recv(4096).decode()


def dial(host, port, protocol="http", request="hostname", tries="1"):
    answers, errors = set(), []
    for _ in range(int(tries)):
        try:
            answers.add(dial_once(host, int(port), protocol, request))
        except OSError as error:
            errors.append(f"{type(error).__name__}: {error}")
    return {"answers": sorted(answers), "errors": errors}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        given = dict(urllib.parse.parse_qsl(url.query))
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        match url.path:
            case "/hostname":
                body = socket.gethostname()
            case "/clientip":
                body = self.client_address[0]
            case "/dial":
                body = json.dumps(dial(**given))
            case "/query":
                body = json.dumps(query(given["name"], given.get("type", "A"), given.get("search")))
            case "/bytes":
                body = "x" * int(given["count"])
            case "/file":
                body = pathlib.Path(given["path"]).read_text()
            case _:
                body = json.dumps({"method": self.command, "path": url.path, "query": url.query, "body": sent})
        data = body.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def udp(port):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        while True:
            data, client = server.recvfrom(4096)
            text = data.decode(errors="replace").strip()
            replies = {"hostname": socket.gethostname(), "clientip": client[0]}
            server.sendto(replies.get(text, text.removeprefix("echo ")).encode(), client)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        protocol, _, port = argument.partition(":")
        if protocol == "udp":
            target, args = udp, (int(port),)
        else:
            server = Server(("::", int(port)), Handler)
            if protocol == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(os.environ["CERTIFICATE"])
                server.socket = context.wrap_socket(server.socket, server_side=True)
            target, args = server.serve_forever, ()
        threading.Thread(target=target, args=args).start()
