"""From an EndpointSlice's change (the API's answer to it) to the right answer of the node's DNS server."""

from __future__ import annotations

import ctypes
import os
import socket
import time

from dnslib import DNSRecord

from bench.cluster import NAME
from bench.figure import Figure, percentile
from bench.sharing import Shared

ROUNDS = 20
_CLONE_NEWNET = 0x40000000
_ADDRESS = "172.30.0.2"
_SERVICES = "/api/v1/namespaces/default/services"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def run(shared: Shared) -> list[Figure]:
    cluster = shared.cluster
    ports = [{"port": 80}]
    service = {"metadata": {"name": "moving"}, "spec": {"clusterIP": "None", "ports": ports}}
    cluster.request("POST", _SERVICES, service)
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "moving-1", "labels": {"kubernetes.io/service-name": "moving"}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["192.0.2.1"]}],
    }
    piece = cluster.request("POST", _SLICES, piece)
    times = []
    with _socket_of_the_node() as client:
        for turn in range(2, ROUNDS + 2):
            piece["endpoints"] = [{"addresses": [f"192.0.2.{turn}"]}]
            piece = cluster.request("PUT", f"{_SLICES}/moving-1", piece)
            times.append(_until(client, f"192.0.2.{turn}"))
    cluster.request("DELETE", f"{_SERVICES}/moving")
    value = f"{percentile(times, 0.5) * 1000:.0f} ms ({max(times) * 1000:.0f} ms)"
    what = f"DNS: right after an endpoint changes, p50 of {ROUNDS} (max)"
    return [Figure(what, value, "≤ 200 ms", "python -m bench dns_change")]


def _socket_of_the_node() -> socket.socket:
    """A socket towards the DNS server of the first node, in the node's own network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{NAME}-1", os.O_RDONLY)
    try:
        if libc.setns(there, _CLONE_NEWNET) != 0:
            raise PermissionError("cannot enter the node's network namespace: root is needed")
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(2)
        client.connect((_ADDRESS, 53))
        return client
    finally:
        libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _until(client: socket.socket, address: str) -> float:
    question = bytes(DNSRecord.question("moving.default.svc.cluster.local").pack())
    began = time.perf_counter()
    while True:
        client.send(question)
        if address in {str(r.rdata) for r in DNSRecord.parse(client.recv(4096)).rr}:
            return time.perf_counter() - began
        if time.perf_counter() - began > 10:
            raise RuntimeError(f"cannot measure: DNS does not answer {address}")
        time.sleep(0.001)
