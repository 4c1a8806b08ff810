"""Admission webhooks, found by a Service, at work on objects of one namespace each."""

from __future__ import annotations

import base64
import datetime
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cluster.conformance.api import MERGE, Refused, refused
from tests.cluster.conformance.custom import V1, custom, defined, definition, objects_of, version
from tests.cluster.conformance.objects import config_map, container, pod, running
from tests.cluster.conftest import NAME
from tests.ports import free_port
from tests.waiting import eventually

ADMISSION = "admissionregistration.k8s.io/v1"
ADDRESS = "172.30.0.1"  # the control plane's, where the server of these tests listens
SERVICE = "e2e-test-webhook"
DENIED = "denied the request: this webhook denies all requests"
UNWANTED = "denied the request: the object contains unwanted key and value"


def _certificate(folder: Path, host: str = f"{SERVICE}.default.svc") -> tuple[Path, Path]:
    """(certificate, key), for the Service's name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SERVICE)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / "hook.crt", folder / "hook.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate, key_file


@pytest.fixture(scope="module")
def bundle(api, tmp_path_factory) -> Iterator[str]:
    """The webhook server, behind a Service in the default namespace; its CA bundle."""
    certificate, key = _certificate(tmp_path_factory.mktemp("hook"))
    port = free_port()
    program = Path(__file__).with_name("webhook_server.py")
    services, slices = api.at("v1", "services", "default"), api.at("discovery.k8s.io/v1", "endpointslices", "default")
    command = ["ip", "netns", "exec", NAME, sys.executable, program, certificate, key, ADDRESS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            services.create({"metadata": {"name": SERVICE}, "spec": {"ports": [{"port": 443, "targetPort": port}]}})
            slices.create(
                {
                    "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
                    "ports": [{"port": port, "name": ""}],
                }
            )
            yield base64.b64encode(certificate.read_bytes()).decode()
        finally:
            child.kill()
            services.delete(SERVICE)
            slices.delete(SERVICE)


def hook(bundle: str, path: str, ns: str, *resources: str, name: str = "e2e.example.com", **more):
    """A webhook for these resources ("group/version/plural" or a core plural) in this namespace."""
    rules = []
    for resource in resources or ("configmaps",):
        group, one, plural = resource.split("/", 2) if resource.count("/") >= 2 else ("", "v1", resource)
        rules.append({"apiGroups": [group], "apiVersions": [one], "resources": [plural], "operations": ["*"]})
    service = {"namespace": "default", "name": SERVICE, "path": path}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": ns}}
    made = {
        "name": name,
        "clientConfig": {"service": service, "caBundle": bundle},
        "rules": rules,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **({"namespaceSelector": selector} if ns else {}),
    }
    return {**made, **more}


def only(operation: str, webhook):
    webhook["rules"][0]["operations"] = [operation]
    return webhook


@contextmanager
def configured(api, kind: str, name: str, *hooks, labels=None):
    """A Validating or Mutating configuration until the end."""
    configurations = api.at(ADMISSION, f"{kind.lower()}webhookconfigurations")
    configurations.create({"metadata": {"name": name, "labels": labels or {}}, "webhooks": list(hooks)})
    try:
        yield configurations
    finally:
        if configurations.find(name):
            configurations.delete(name)


def denied(action, *parts: str):
    """Waits until the action is refused with these words: configurations take a moment."""

    def tried() -> bool:
        try:
            action()
        except Refused as error:
            return all(part in error.message for part in parts)
        return False

    eventually(tried, f"refused with {parts}", 10)


def trial(api, ns: str, name: str = "trial", **data: str):
    """A config map made on trial."""
    return api.at("v1", "configmaps", ns).create(config_map(name, data), dryRun="All")


def mutated(api, ns: str) -> bool:
    return trial(api, ns, **{"mutation-start": "yes"})["data"].get("mutation-stage-1") == "yes"


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation "
    "[Conformance]"
)
def test_deny(api, bundle, ns):
    maps, pods, bad = api.at("v1", "configmaps", ns), api.pods(ns), {"webhook-e2e-test": "webhook-disallow"}
    exempt = {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
    # The webhook's own selector picks the namespace; a label takes it out again.
    exempt["matchLabels"] = {"kubernetes.io/metadata.name": ns}
    webhook = hook(bundle, "/unwanted-data", ns, "configmaps", "pods", namespaceSelector=exempt, timeoutSeconds=1)
    with configured(api, "Validating", f"deny-{ns}", webhook):
        denied(lambda: maps.create(config_map("bad", bad)), UNWANTED)
        denied(lambda: pods.create(pod("bad", labels=bad)), UNWANTED)
        with refused(500, "InternalError", "failed calling webhook"):
            pods.create(pod("hangs", labels={"webhook-e2e-test": "wait-forever"}))
        maps.create(config_map("good", {"a": "b"}))
        with refused(400, "", UNWANTED):
            maps.edit("good", lambda o: o.update(data=bad))
        with refused(400, "", UNWANTED):
            maps.patch("good", {"data": bad})
        api.at("v1", "namespaces").patch(ns, {"metadata": {"labels": {"skip": "yes"}}})
        eventually(lambda: not _raises(lambda: maps.create(config_map("bad", bad))), "exempt", 10)


def _raises(action) -> bool:
    try:
        action()
    except Refused:
        return True
    return False


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]"
)
def test_deny_attach(api, bundle, ns, cluster):
    pods = api.pods(ns)
    pods.create(pod("to-be-attached", container(script="sleep 3600")))
    eventually(lambda: running(pods.get("to-be-attached")), "the pod runs")
    webhook = only("CONNECT", hook(bundle, "/always-deny", ns, "pods/attach"))
    with configured(api, "Validating", f"attach-{ns}", webhook):

        def attached():
            return cluster.run("-n", ns, "attach", "to-be-attached", timeout=20).stderr

        eventually(lambda: DENIED in attached(), "attaching is denied", 15)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, "
    "update and deletion [Conformance]"
)
def test_deny_custom(api, bundle, ns):
    with defined(api) as made:
        objects, group = objects_of(api, made, ns), made["spec"]["group"]
        webhook = hook(bundle, "/unwanted-data", ns, f"{group}/v1/e2etests")
        bad = {"webhook-e2e-test": "webhook-disallow"}
        with configured(api, "Validating", f"custom-{ns}", webhook):
            denied(lambda: objects.create(custom(made, "bad", data=bad)), UNWANTED)
            objects.create(custom(made, "good", data={"a": "b"}))
            with refused(400, "", UNWANTED):
                objects.patch("good", {"data": bad})
        # What is unwanted already may not be deleted either.
        eventually(lambda: not _raises(lambda: objects.patch("good", {"data": bad})), "it is not guarded", 10)
        with configured(api, "Validating", f"custom-{ns}", webhook):
            denied(lambda: objects.delete("good"), UNWANTED)
        eventually(lambda: not _raises(lambda: objects.delete("good")), "it is not guarded", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation [Conformance]"
)
def test_deny_definition(api, bundle, ns):
    selector = {"matchLabels": {"e2e": ns}}
    webhook = hook(bundle, "/always-deny", "", "apiextensions.k8s.io/v1/customresourcedefinitions")
    webhook = only("CREATE", {**webhook, "objectSelector": selector})
    with configured(api, "Validating", f"definitions-{ns}", webhook):
        made = definition()
        made["metadata"]["labels"] = {"e2e": ns}
        denied(lambda: api.at(V1, "customresourcedefinitions").create(made, dryRun="All"), DENIED)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail "
    "closed webhook [Conformance]"
)
def test_fail_closed(api, bundle, ns):
    webhook = hook(bundle, "/unwanted-data", ns, failurePolicy="Fail")
    del webhook["clientConfig"]["caBundle"]
    with configured(api, "Validating", f"closed-{ns}", webhook):
        denied(lambda: trial(api, ns), "failed calling webhook")


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout [Conformance]"
)
def test_timeout(api, bundle, ns):
    """The webhook takes two seconds."""
    name = f"timeout-{ns}"
    with configured(api, "Validating", name, hook(bundle, "/slow", ns, timeoutSeconds=1, failurePolicy="Fail")):
        denied(lambda: trial(api, ns), "failed calling webhook", "deadline exceeded")
    for more in ({"timeoutSeconds": 1, "failurePolicy": "Ignore"}, {"timeoutSeconds": 10}, {}):
        with configured(api, "Validating", name, hook(bundle, "/slow", ns, **more)) as configurations:
            eventually(lambda: not _raises(lambda: trial(api, ns)), f"allowed with {more}", 10)
            assert configurations.get(name)["webhooks"][0]["timeoutSeconds"] == more.get("timeoutSeconds", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap [Conformance]"
)
def test_mutate(api, bundle, ns):
    hooks = [hook(bundle, "/mutate-data", ns, name=f"stage-{n}.example.com") for n in (1, 2)]
    wanted = {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    with configured(api, "Mutating", f"stages-{ns}", *hooks):
        eventually(lambda: trial(api, ns, **{"mutation-start": "yes"})["data"] == wanted, "both stages", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' "
    "configmaps [Conformance]"
)
def test_skip_me(api, bundle, ns):
    conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
    with configured(api, "Mutating", f"skip-{ns}", hook(bundle, "/mutate-data", ns, matchConditions=conditions)):
        eventually(lambda: mutated(api, ns), "others are mutated", 10)
        assert trial(api, ns, "skip-me", **{"mutation-start": "yes"})["data"] == {"mutation-start": "yes"}


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after "
    "mutation [Conformance]"
)
def test_mutate_pod(api, bundle, ns):
    with configured(api, "Mutating", f"pods-{ns}", only("CREATE", hook(bundle, "/add-init-container", ns, "pods"))):

        def added():
            return api.pods(ns).create(pod("trial"), dryRun="All")["spec"].get("initContainers")

        [found] = eventually(added, "the container is added", 10)
        assert found["name"] == "webhook-added-init-container"
        assert found["terminationMessagePolicy"] == "File"


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource [Conformance]"
)
def test_mutate_custom(api, bundle, ns):
    _mutated_custom(api, bundle, ns, None, {"mutation-start", "mutation-stage-1", "mutation-stage-2"})


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning "
    "[Conformance]"
)
def test_mutate_custom_with_pruning(api, bundle, ns):
    fields = {name: {"type": "string"} for name in ("mutation-start", "mutation-stage-1")}
    schema = {"type": "object", "properties": {"data": {"type": "object", "properties": fields}}}
    _mutated_custom(api, bundle, ns, schema, set(fields))


def _mutated_custom(api, bundle, ns, schema, wanted: set[str]) -> None:
    with defined(api, version("v1", schema) if schema else version("v1")) as made:
        resource = f"{made['spec']['group']}/v1/e2etests"
        hooks = [hook(bundle, "/mutate-data", ns, resource, name=f"stage-{n}.example.com") for n in (1, 2)]
        with configured(api, "Mutating", f"custom-{ns}", *hooks):
            objects = objects_of(api, made, ns)

            def fields():
                one = custom(made, "trial", data={"mutation-start": "yes"})
                return set(objects.create(one, dryRun="All")["data"])

            eventually(lambda: fields() == wanted, f"{wanted}", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different "
    "stored version [Conformance]"
)
def test_mutate_custom_of_two_versions(api, bundle, ns):
    with defined(api, version("v1"), version("v2", storage=False)) as made:
        group = made["spec"]["group"]
        webhook = hook(bundle, "/mutate-data", ns, f"{group}/*/e2etests")
        with configured(api, "Mutating", f"versions-{ns}", webhook):
            objects = objects_of(api, made, ns)

            def fields():
                return objects.create(custom(made, "t", data={"mutation-start": "yes"}), dryRun="All")["data"]

            eventually(lambda: "mutation-stage-1" in fields(), "it is mutated", 10)
            objects.create(custom(made, "one", data={"mutation-start": "yes"}))
            versions = [version("v1", storage=False), version("v2")]
            api.at(V1, "customresourcedefinitions").patch(made["metadata"]["name"], {"spec": {"versions": versions}})
            patched = eventually(lambda: objects.patch("one", {"dummy": "test"}), "it is patched", 10)
            assert patched["dummy"] == "test" and patched["data"]["mutation-stage-1"] == "yes"
            assert objects_of(api, made, ns, "v2").get("one")["dummy"] == "test"


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion "
    "of webhook configuration objects [Conformance]"
)
def test_configurations_are_exempt(api, bundle, ns):
    resources = [f"{ADMISSION}/{kind}webhookconfigurations" for kind in ("validating", "mutating")]
    with (
        configured(api, "Validating", f"deny-{ns}", hook(bundle, "/always-deny", "", *resources)),
        configured(api, "Mutating", f"mutate-{ns}", hook(bundle, "/add-label", "", *resources)),
        # That these webhooks are known by now is seen by one more, which came last.
        configured(api, "Validating", f"witness-{ns}", hook(bundle, "/always-deny", ns)),
    ):
        denied(lambda: trial(api, ns), DENIED)
        for kind in ("Validating", "Mutating"):
            with configured(api, kind, f"dummy-{ns}", hook(bundle, "/always-deny", ns, "secrets")) as configurations:
                assert not configurations.get(f"dummy-{ns}")["metadata"].get("labels")
                configurations.delete(f"dummy-{ns}")
                assert configurations.find(f"dummy-{ns}") is None


def _listed(api, ns: str, kind: str, webhook, active) -> None:
    configurations, label = api.at(ADMISSION, f"{kind.lower()}webhookconfigurations"), {"e2e-list": ns}
    for number in range(10):
        named = {"name": f"{kind.lower()}-{number}-{ns}", "labels": label}
        configurations.create({"metadata": named, "webhooks": [webhook]})
    assert len(configurations.items(f"e2e-list={ns}")) == 10
    eventually(active, "the webhooks are at work", 10)
    configurations.delete_all(f"e2e-list={ns}")
    assert configurations.items(f"e2e-list={ns}") == []
    eventually(lambda: not active(), "none is at work", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work [Conformance]"
)
def test_list_mutating(api, bundle, ns):
    _listed(api, ns, "Mutating", hook(bundle, "/mutate-data", ns), lambda: mutated(api, ns))


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work "
    "[Conformance]"
)
def test_list_validating(api, bundle, ns):
    _listed(api, ns, "Validating", hook(bundle, "/always-deny", ns), lambda: _raises(lambda: trial(api, ns)))


def _changed(api, ns: str, kind: str, webhook, active) -> None:
    name = f"change-{ns}"
    with configured(api, kind, name, webhook) as configurations:
        eventually(active, "it is at work", 10)
        configurations.edit(name, lambda o: o["webhooks"][0]["rules"][0].update(operations=["UPDATE"]))
        eventually(lambda: not active(), "it no longer minds creations", 10)
        operation = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
        configurations.patch(name, operation, "application/json-patch+json")
        eventually(active, "it is at work again", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work "
    "[Conformance]"
)
def test_change_mutating(api, bundle, ns):
    _changed(api, ns, "Mutating", hook(bundle, "/mutate-data", ns), lambda: mutated(api, ns))


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work "
    "[Conformance]"
)
def test_change_validating(api, bundle, ns):
    _changed(api, ns, "Validating", hook(bundle, "/always-deny", ns), lambda: _raises(lambda: trial(api, ns)))


def _conditions(api, ns: str, kind: str) -> None:
    first = [{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]
    second = [{"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]
    with configured(api, kind, f"match-{ns}", hook("", "/always-deny", ns, matchConditions=first)) as configurations:
        name = f"match-{ns}"
        assert configurations.get(name)["webhooks"][0]["matchConditions"] == first
        configurations.edit(name, lambda o: o["webhooks"][0].update(matchConditions=second))
        assert configurations.get(name)["webhooks"][0]["matchConditions"] == second


def _bad_conditions(api, ns: str, kind: str) -> None:
    bad = [{"name": "invalid-expression-1", "expression": "... [] bad expression"}]
    with (
        refused(422, "Invalid", "compilation failed"),
        configured(api, kind, f"bad-{ns}", hook("", "/always-deny", ns, matchConditions=bad)),
    ):
        pass


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating "
    "webhook configurations with match conditions [Conformance]"
)
def test_match_conditions_mutating(api, ns):
    _conditions(api, ns, "Mutating")


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating "
    "webhook configurations with match conditions [Conformance]"
)
def test_match_conditions_validating(api, ns):
    _conditions(api, ns, "Validating")


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with "
    "invalid match conditions [Conformance]"
)
def test_bad_match_conditions_mutating(api, ns):
    _bad_conditions(api, ns, "Mutating")


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations "
    "with invalid match conditions [Conformance]"
)
def test_bad_match_conditions_validating(api, ns):
    _bad_conditions(api, ns, "Validating")


def _text(*names: str):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _converting(bundle: str):
    client = {"service": {"namespace": "default", "name": SERVICE, "path": "/convert"}, "caBundle": bundle}
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    return {"conversion": {"strategy": "Webhook", "webhook": webhook}}


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR "
    "v1 to CR v2 [Conformance]"
)
def test_convert(api, bundle, ns):
    versions = [version("v1", _text("hostPort")), version("v2", _text("host", "port"), storage=False)]
    with defined(api, *versions, **_converting(bundle)) as made:
        objects_of(api, made, ns).create(custom(made, "one", hostPort="localhost:8080"))
        found = objects_of(api, made, ns, "v2").get("one")
        assert (found["host"], found["port"]) == ("localhost", "8080") and "hostPort" not in found
        assert found["apiVersion"].endswith("/v2")


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non "
    "homogeneous list of CRs [Conformance]"
)
def test_convert_a_mixed_list(api, bundle, ns):
    versions = [version("v1", _text("hostPort")), version("v2", _text("host", "port"), storage=False)]
    with defined(api, *versions, **_converting(bundle)) as made:
        first, second = objects_of(api, made, ns), objects_of(api, made, ns, "v2")
        first.create(custom(made, "one", hostPort="localhost:8080"))
        versions[0]["storage"], versions[1]["storage"] = False, True
        name = made["metadata"]["name"]
        api.at(V1, "customresourcedefinitions").patch(name, {"spec": {"versions": versions}}, MERGE)
        second.create(custom(made, "two", "v2", host="localhost", port="8081"))
        assert [(o["host"], o["port"]) for o in second.items()] == [("localhost", "8080"), ("localhost", "8081")]
        assert [o["hostPort"] for o in first.items()] == ["localhost:8080", "localhost:8081"]


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list "
    "and watch custom resources matching the field selector [Conformance]"
)
def test_field_selectors(api, bundle, ns):
    versions = [
        version("v1", _text("hostPort"), selectableFields=[{"jsonPath": ".hostPort"}]),
        version("v2", _text("host", "port"), False, selectableFields=[{"jsonPath": ".host"}, {"jsonPath": ".port"}]),
    ]
    with defined(api, *versions, **_converting(bundle)) as made:
        first, second = objects_of(api, made, ns), objects_of(api, made, ns, "v2")
        one, two = {"fieldSelector": "hostPort=host1:80"}, {"fieldSelector": "host=host1"}
        with first.watch(**one) as on_first, second.watch(**two) as on_second:
            for name, host in (("a", "host1:80"), ("b", "host1:8080"), ("c", "host2:80")):
                first.create(custom(made, name, hostPort=host))
            assert [o["metadata"]["name"] for o in first.items(**one)] == ["a"]
            assert [o["metadata"]["name"] for o in second.items(**two)] == ["a", "b"]
            assert [o["metadata"]["name"] for o in second.items(fieldSelector="host=host1,port=80")] == ["a"]
            # One leaves the selector by a change, one goes for good.
            first.patch("b", {"hostPort": "host3:80"})
            first.delete("a")

            def seen(watch, count: int):
                events = [watch.next() for _ in range(count)]
                return [(e["type"], e["object"]["metadata"]["name"]) for e in events]

            assert seen(on_first, 2) == [("ADDED", "a"), ("DELETED", "a")]
            wanted = [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b"), ("DELETED", "a")]
            assert seen(on_second, 4) == wanted
        assert first.items(**one) == [] == second.items(**two)
