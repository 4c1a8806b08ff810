import pytest

from shirube.kubelet.downward import NodeFacts
from shirube.kubelet.volumes.payload import Fetched, PayloadError, files, references, token_sources, trust_sources

NODE = NodeFacts("n", ("10.0.0.9",), {})
POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": 'q"1'}},
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
}
OBJECTS = {
    ("configmaps", "m"): {"data": {"k": "v"}, "binaryData": {"b": "AAE="}},
    ("secrets", "s"): {"data": {"k": "aGk="}},
}


def made(volume, tokens=(), anchors=()):
    fetched = Fetched(OBJECTS, tokens, NODE, (), anchors)
    return {path: (file.data, file.mode) for path, file in files(POD, {"name": "v", **volume}, fetched).items()}


def test_whole_objects_and_items():
    assert made({"configMap": {"name": "m"}}) == {"k": (b"v", 0o644), "b": (b"\0\1", 0o644)}
    items = [{"key": "k", "path": "deep/k", "mode": 0o400}]
    assert made({"secret": {"secretName": "s", "items": items, "defaultMode": 0o600}}) == {"deep/k": (b"hi", 0o400)}


def test_what_is_missing():
    with pytest.raises(PayloadError, match='secret "no" not found'):
        made({"secret": {"secretName": "no"}})
    with pytest.raises(PayloadError, match="configmap references non-existent config key: no"):
        made({"configMap": {"name": "m", "items": [{"key": "no", "path": "x"}]}})
    assert made({"configMap": {"name": "no", "optional": True}}) == {}


def test_projected_sources_lie_side_by_side():
    volume = {
        "projected": {
            "defaultMode": 0o400,
            "sources": [
                {"secret": {"name": "s"}},
                {"serviceAccountToken": {"path": "token"}},
                {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {
                    "downwardAPI": {
                        "items": [{"path": "c", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]
                    }
                },
            ],
        }
    }
    assert references(volume) == [("secrets", "s")] and len(token_sources(volume)) == 1
    assert made(volume, ["tok"]) == {
        "k": (b"hi", 0o400),
        "token": (b"tok", 0o400),
        "l": (b'a="q\\"1"\nb="2"', 0o400),
        "c": (b"2", 0o400),
    }


def test_a_token_belongs_to_the_one_user_of_the_pod():
    pod = {**POD, "spec": {**POD["spec"], "securityContext": {"runAsUser": 1001}}}
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    file = files(pod, volume, Fetched({}, ["t"], NODE, ()))["token"]
    assert (file.mode, file.owner) == (0o600, 1001)


def test_trust_bundles_lie_beside_the_rest_each_at_its_path():
    sources = [
        {"clusterTrustBundle": {"name": "one", "path": "trust/one.pem"}},
        {"configMap": {"name": "m"}},
        {"clusterTrustBundle": {"signerName": "example.com/x", "labelSelector": {}, "path": "two.pem"}},
    ]
    volume = {"projected": {"defaultMode": 0o440, "sources": sources}}
    assert [source["path"] for source in trust_sources(volume)] == ["trust/one.pem", "two.pem"]
    assert references(volume) == [("configmaps", "m")]
    found = made(volume, anchors=[b"1", b""])
    assert (found["trust/one.pem"], found["two.pem"]) == ((b"1", 0o440), (b"", 0o440))
    assert trust_sources({"configMap": {"name": "m"}}) == []
