"""The connection table of a network namespace of our own."""

import socket

import pytest
from tests.network.lab import Lab, Probe, inside, nft

from shirube.foundation import conntrack

pytestmark = pytest.mark.cluster


def test_flows_are_listed_forgotten_and_flushed():
    with Lab("shirube-ct", (("udp", 80), ("tcp", 80))) as lab:
        lab.machine("a", "10.244.0.10")
        lab.machine("b", "10.244.0.11")
        # The kernel follows connections where a rule asks for it.
        lab_rule = (
            "add table ip t\nadd chain ip t c { type filter hook forward priority 0; }\nadd rule ip t c ct state new"
        )
        nft(lab.node, lab_rule + "\n")
        probes = [Probe("a", "10.244.0.11", protocol, 80, "10.244.0.10") for protocol in ("udp", "tcp", "udp")]
        assert len(lab.reached(dict.fromkeys(probes))) == 2
        with inside(lab.node):
            [flow] = conntrack.flows(socket.IPPROTO_UDP)
            assert (flow.source, flow.destination, flow.destination_port) == ("10.244.0.10", "10.244.0.11", 80)
            assert (flow.answers_from, flow.answers_from_port) == ("10.244.0.11", 80)
            assert conntrack.forget([flow]) == 1
            assert conntrack.forget([flow]) == 0
            assert conntrack.flows(socket.IPPROTO_UDP) == []
            assert conntrack.flows(socket.IPPROTO_TCP) != []
            conntrack.flush()
            assert conntrack.flows(socket.IPPROTO_TCP) == []
