"""The node's rules at scale: 10,000 Services of 5 endpoints from empty, and one change; 1,000 network policies; DNS.

In a network namespace of its own, with what the proxy itself uses: from Service and EndpointSlice objects to rules in
the kernel.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from typing import Any

from dnslib import DNSRecord

from bench.figure import Figure, percentile
from bench.sharing import Shared
from shirube.foundation import nft
from shirube.network.dns.answer import Responder
from shirube.network.dns.records import Zone
from shirube.network.policy.compile import Pod
from shirube.network.policy.main import PolicyTable
from shirube.proxy import ruleset
from shirube.proxy.endpoints import Place, service_ports

SERVICES, ENDPOINTS = 10_000, 5
POLICIES, PODS = 1_000, 2_000
CHANGES = 10
_CLONE_NEWNET = 0x40000000
_COMMAND = "python -m bench network_rules"
_CIDR = "10.244.0.0/16"


def run(shared: Shared) -> list[Figure]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise PermissionError("cannot make a network namespace: root is needed")
    try:
        return asyncio.run(_run())
    finally:
        libc.setns(home, _CLONE_NEWNET)
        os.close(home)


async def _run() -> list[Figure]:
    return [*await _services(), *await _policies(), *_dns()]


def _service(number: int) -> dict[str, Any]:
    address = f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return {
        "metadata": {"namespace": f"n{number % 100}", "name": f"s{number}"},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80, "targetPort": 8080}]},
    }


def _slice(number: int, turn: int = 0) -> dict[str, Any]:
    first = number * ENDPOINTS + turn
    addresses = [f"10.244.{n // 250 % 250}.{n % 250 + 2}" for n in range(first, first + ENDPOINTS)]
    return {
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "nodeName": f"node-{i}"} for i, a in enumerate(addresses)],
    }


async def _services() -> list[Figure]:
    table, place = ruleset.table(_CIDR), Place("node-0")

    def put(number: int, turn: int = 0) -> None:
        ports = service_ports(_service(number), [_slice(number, turn)], place)
        table.put(f"s{number}", ruleset.fragment(ports, _CIDR))

    async def program() -> None:
        script = table.script()
        table.settle()
        await nft.apply(script, timeout=120)

    began = time.perf_counter()
    for number in range(SERVICES):
        put(number)
    await program()
    whole = time.perf_counter() - began
    times = []
    for number in range(CHANGES):
        began = time.perf_counter()
        put(number * 7, turn=1)
        await program()
        times.append(time.perf_counter() - began)
    what = f"{SERVICES:,} Services of {ENDPOINTS} endpoints"
    return [
        Figure(f"{what}, programmed from empty", f"{whole:.1f} s", "≤ 10 s", _COMMAND),
        Figure(
            "  one Service's endpoints change, p50", f"{percentile(times, 0.5) * 1000:.0f} ms", "≤ 100 ms", _COMMAND
        ),
    ]


async def _policies() -> list[Figure]:
    contents = PolicyTable("node-0", "172.30.0.2")

    async def program() -> None:
        script = contents.table.script()
        contents.table.settle()
        await nft.apply(script, timeout=120)

    def pod(number: int, turn: int = 0) -> Pod:
        address = f"10.244.{number // 250}.{number % 250 + 2}"
        labels = (("app", f"a{(number + turn) % 10}"),)
        return Pod(f"n{number % 100}", f"p{number}", labels, address, f"node-{number % 20}")

    for number in range(100):
        contents.set_namespace(f"n{number}", {"team": f"t{number % 10}"})
    began = time.perf_counter()
    for number in range(PODS):
        contents.set_pod(pod(number).key, pod(number))
    for number in range(POLICIES):
        peers = [{"podSelector": {"matchLabels": {"app": f"a{number % 10}"}}}]
        spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": [{"port": 80}]}]}
        metadata = {"namespace": f"n{number % 100}", "name": f"p{number}"}
        contents.set_policy(f"{metadata['namespace']}/{metadata['name']}", {"metadata": metadata, "spec": spec})
    await program()
    whole = time.perf_counter() - began
    times = []
    for number in range(CHANGES):
        began = time.perf_counter()
        contents.set_pod(pod(number).key, pod(number, turn=1))
        await program()
        times.append(time.perf_counter() - began)
    label_times, times = times, []
    for number in range(CHANGES):
        peers = [{"podSelector": {"matchLabels": {"app": f"a{(number + 1) % 10}"}}}]
        spec = {"podSelector": {}, "ingress": [{"from": peers, "ports": [{"port": 81}]}]}
        metadata = {"namespace": f"n{number % 100}", "name": f"p{number}"}
        began = time.perf_counter()
        contents.set_policy(f"{metadata['namespace']}/{metadata['name']}", {"metadata": metadata, "spec": spec})
        await program()
        times.append(time.perf_counter() - began)
    return [
        Figure(f"{POLICIES:,} network policies, {PODS:,} pods, from empty", f"{whole:.1f} s", "", _COMMAND),
        Figure("  one pod's labels change, p50", f"{percentile(label_times, 0.5) * 1000:.0f} ms", "", _COMMAND),
        Figure("  one policy changes, p50", f"{percentile(times, 0.5) * 1000:.0f} ms", "", _COMMAND),
    ]


def _dns() -> list[Figure]:
    services = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in map(_service, range(SERVICES))}

    async def nobody(packet: bytes, tcp: bool) -> bytes | None:
        return None

    zone = Zone(
        "cluster.local",
        service=lambda namespace, name: services.get((namespace, name)),
        slices=lambda namespace, name: [],
        namespace_exists=lambda name: True,
        by_address=lambda address: ([], []),
    )
    responder = Responder(zone, nobody)
    packets = [bytes(DNSRecord.question(f"s{n}.n{n % 100}.svc.cluster.local").pack()) for n in range(SERVICES)]
    began = time.perf_counter()
    for packet in packets:
        responder.at_once(packet, tcp=False)
    each = (time.perf_counter() - began) / len(packets)
    return [Figure("DNS: an address from memory", f"{each * 1e6:.0f} µs", "≤ 200 µs", _COMMAND)]
