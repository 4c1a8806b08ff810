"""Which ranges of Service addresses may go."""

from __future__ import annotations

import pytest

from shirube.controllers.service_cidr import orphans


def cidr(*blocks):
    return {"metadata": {"name": blocks[0]}, "spec": {"cidrs": list(blocks)}}


def address(name, managed=True):
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"} if managed else {}
    return {"metadata": {"name": name, "labels": labels}}


TAKEN = [address("10.96.0.7"), address("fd00:10:96::7"), address("203.0.113.9", managed=False)]


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ([], ["10.96.0.7", "fd00:10:96::7"]),
        ([cidr("10.96.0.0/16")], ["fd00:10:96::7"]),
        ([cidr("10.96.0.0/16", "fd00:10:96::/112")], []),
        ([cidr("10.97.0.0/16"), cidr("fd00:10:96::/108")], ["10.96.0.7"]),
    ],
)
def test_a_range_stays_while_addresses_have_no_other(others, left):
    assert orphans(cidr("10.96.0.0/12", "fd00:10:96::/112"), others, TAKEN) == left


def test_addresses_that_somebody_else_keeps_hold_nothing():
    assert orphans(cidr("203.0.113.0/24"), [], TAKEN) == []


@pytest.mark.parametrize(
    ("taken", "held"),
    [
        ("192.168.0.24", True),
        ("192.168.1.24", False),
        ("192.168.0.0", False),  # the network's own
        ("192.168.0.255", False),  # its broadcast address
        ("2001:db2::ffff:ffff:ffff:ffff", True),  # IPv6 has none
        ("2001:db2::", False),
    ],
)
def test_which_addresses_hold_a_range(taken, held):
    assert bool(orphans(cidr("192.168.0.0/24", "2001:db2::/64"), [], [address(taken)])) is held


@pytest.mark.parametrize(
    ("other", "taken", "held"),
    [
        ("192.168.0.0/24", "192.168.0.23", False),
        ("192.168.0.0/26", "192.168.0.23", False),
        ("192.168.0.0/28", "192.168.0.23", True),
        ("192.168.0.0/16", "192.168.0.23", False),
        ("192.168.255.0/26", "192.168.0.1", True),
        ("192.168.0.0/26", "192.168.0.63", True),  # nobody could have it there
    ],
)
def test_which_other_ranges_have_an_address(other, taken, held):
    assert bool(orphans(cidr("192.168.0.0/24"), [cidr(other)], [address(taken)])) is held
