"""Lists in chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster.conformance.objects import template

COUNT = 40


def _fill(api, ns: str):
    templates = api.at("v1", "podtemplates", ns)

    def make(number: int) -> None:
        labels = {"number": str(number)}
        templates.create({"metadata": {"name": f"template-{number:04d}"}, "template": template(labels)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(COUNT)))
    return templates


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls "
    "[Conformance]"
)
def test_chunks(api, ns):
    templates = _fill(api, ns)
    for limit in (7, 20, 39):
        names: list[str] = []
        versions = set()
        query: dict = {"limit": limit}
        while True:
            page = templates.list(**query)
            names += [i["metadata"]["name"] for i in page["items"]]
            versions.add(page["metadata"]["resourceVersion"])
            assert len(page["items"]) <= limit
            if not page["metadata"].get("continue"):
                assert "remainingItemCount" not in page["metadata"]
                break
            assert page["metadata"]["remainingItemCount"] == COUNT - len(names)
            query["continue"] = page["metadata"]["continue"]
        assert names == [f"template-{number:04d}" for number in range(COUNT)]
        assert len(versions) == 1
    # Unbounded, and a bound that is as large as the list, are one page.
    assert len(templates.items()) == len(templates.items(limit=COUNT)) == COUNT
