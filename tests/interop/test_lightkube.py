"""lightkube: typed and generic resources, apply, patches, watches, lists in pages."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace, Service
from lightkube.types import CascadeType, PatchType
from tests.interop.conftest import definition
from tests.waiting import eventually


@pytest.fixture(scope="module")
def api(config) -> Iterator[Client]:
    made = Client(config=KubeConfig.from_file(str(config)), field_manager="lightkube")
    yield made
    made.close()


def test_objects_of_its_models(api, namespace):
    meta = ObjectMeta(name="web", namespace=namespace)
    made = api.create(Service(metadata=meta, spec=ServiceSpec(ports=[ServicePort(port=80)], selector={"a": "b"})))
    assert made.spec.clusterIP and made.spec.ports[0].targetPort == 80
    made.metadata.labels = {"tier": "x"}
    assert api.replace(made).metadata.labels == {"tier": "x"}
    assert [s.metadata.name for s in api.list(Service, namespace=namespace, labels={"tier": ["x", "y"]})] == ["web"]
    api.delete(Service, "web", namespace=namespace, cascade=CascadeType.BACKGROUND)
    with pytest.raises(ApiError) as gone:
        api.get(Service, "web", namespace=namespace)
    assert gone.value.status.code == 404 and gone.value.status.reason == "NotFound"


def test_apply_patches_and_pages(api, namespace):
    def wanted(**data: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name="c", namespace=namespace), data=data)

    assert api.apply(wanted(a="1")).data == {"a": "1"}
    with pytest.raises(ApiError) as conflict:
        api.apply(wanted(a="2"), field_manager="other")
    assert conflict.value.status.code == 409
    assert api.apply(wanted(a="2"), field_manager="other", force=True).data == {"a": "2"}
    for kind, change in (
        (PatchType.MERGE, {"data": {"b": "1"}}),
        (PatchType.STRATEGIC, {"data": {"b": "2"}}),
        (PatchType.JSON, [{"op": "replace", "path": "/data/b", "value": "3"}]),
    ):
        changed = api.patch(ConfigMap, "c", change, namespace=namespace, patch_type=kind)
    assert changed.data == {"a": "2", "b": "3"}
    for n in range(5):
        api.create(ConfigMap(metadata=ObjectMeta(name=f"n{n}", namespace=namespace)))
    names = ["c", "n0", "n1", "n2", "n3", "n4"]
    assert [c.metadata.name for c in api.list(ConfigMap, namespace=namespace, chunk_size=2)] == names
    seen = []
    for kind, obj in api.watch(ConfigMap, namespace=namespace, resource_version="0"):
        seen.append((kind, obj.metadata.name))
        if len(seen) == 6:
            break
    assert set(seen) == {("ADDED", name) for name in names}
    assert api.get(Namespace, namespace).status.phase == "Active"


def test_custom_resources(api, kubectl, namespace):
    kubectl("create", "-f", "-", input=orjson.dumps(definition("levers", "Lever")).decode())
    kubectl("wait", "--for=condition=Established", "crd/levers.interop.example.com", "--timeout=10s")
    kind = create_namespaced_resource("interop.example.com", "v1", "Lever", "levers")
    made = eventually(
        lambda: api.create(kind(metadata=ObjectMeta(name="l", namespace=namespace), spec={"size": 2})), "it is served"
    )
    assert made.spec == {"size": 2, "color": "red"}
    status = api.patch(kind.Status, "l", {"status": {"size": 2}}, namespace=namespace, patch_type=PatchType.MERGE)
    assert status.status == {"size": 2}
    scale = api.get(kind.Scale, "l", namespace=namespace)
    assert (scale.spec.replicas, scale.status.replicas) == (2, 2)
