"""Owner references listed twice."""

from __future__ import annotations

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def test_duplicates_are_stored_once_with_a_warning(api):
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"}
    body = {"metadata": {"name": "a", "ownerReferences": [owner, {**owner, "name": "p", "uid": "u2"}, owner]}}
    answer = await api.post(CONFIGMAPS, body)
    assert answer.status == 201
    assert [o["uid"] for o in answer.json["metadata"]["ownerReferences"]] == ["u1", "u2"]
    assert len(answer.warnings) == 1
    assert ".metadata.ownerReferences contains duplicate entries; API server dedups" in answer.warnings[0]
    assert "duplicate UID(s) observed: [u1]" in answer.warnings[0]
