"""What conformance asks of the cluster itself."""

from __future__ import annotations

import pytest
from tests.waiting import eventually


@pytest.mark.conformance("[sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]")
def test_two_untainted_nodes(api, second_node):
    def schedulable() -> list[str]:
        found = []
        for node in api.at("v1", "nodes").items():
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions") or ()}
            taken = node["spec"].get("unschedulable") or node["spec"].get("taints")
            if conditions.get("Ready") == "True" and not taken:
                found.append(node["metadata"]["name"])
        return found

    names = eventually(lambda: len(found := schedulable()) >= 2 and found, "two nodes are ready and free of taints", 30)
    assert second_node in names
