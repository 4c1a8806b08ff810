"""What policies leave behind besides answers: audit annotations, metrics, and a bound on their work."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.apiserver.audit.test_audit import audited

from .conftest import CONFIGMAPS, configmap, policy


async def test_audit_annotations(tmp_path, signing_key):
    spec = {
        "validations": [{"expression": "true"}, {"expression": "object.data.x != '1'", "message": "one is bad"}],
        "auditAnnotations": [
            {"key": "name", "valueExpression": "'it is ' + object.metadata.name"},
            {"key": "none", "valueExpression": "null"},
            {"key": "empty", "valueExpression": "'  '"},
        ],
    }
    async with audited(tmp_path, signing_key, {"level": "Metadata", "verbs": ["create"]}) as api:
        await policy(api, "validating", "noted", spec, binding={"validationActions": ["Audit"]})
        assert (await api.post(CONFIGMAPS, configmap("a", x="1"))).status == 201
        found = (await api.events())[-1]["annotations"]
    assert found["validation.policy.admission.k8s.io/validation_failure"] == (
        '[{"message":"one is bad","policy":"noted","binding":"noted","expressionIndex":1,'
        '"validationActions":["Audit"]}]'
    )
    assert {k: v for k, v in found.items() if k.startswith("noted/")} == {"noted/name": "it is a"}


async def test_an_annotation_that_cannot_be_made_refuses(api):
    annotation = {"key": "size", "valueExpression": "object.data.size()"}
    await policy(api, "validating", "bad", {"auditAnnotations": [annotation]})
    answer = await api.post(CONFIGMAPS, configmap("a", x="1"))
    assert answer.status == 422 and "must evaluate to a string or null" in answer.message
    open_policy = {"auditAnnotations": [annotation], "failurePolicy": "Ignore"}
    await api.ok("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/bad")
    await policy(api, "validating", "open", open_policy)
    assert (await api.post(CONFIGMAPS, configmap("a", x="1"))).status == 201


async def test_metrics(api):
    await policy(api, "validating", "v", {"validations": [{"expression": "object.data.x != '1'"}]})
    change = {"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}
    await policy(api, "mutating", "m", {"mutations": [change], "reinvocationPolicy": "Never"})
    await api.post(CONFIGMAPS, configmap("a", x="1"))
    await api.post(CONFIGMAPS, configmap("b", x="2"))
    for name, expression in (("not-b", "object.metadata.name != 'b'"), ("broken", "object.none == 1")):
        condition = {"name": name, "expression": expression}
        await policy(api, "validating", name, {"matchConditions": [condition], "validations": [{"expression": "true"}]})
    await api.post(f"{CONFIGMAPS}?dryRun=All", configmap("b", x="2"))
    text = (await api.get("/metrics")).raw.decode()
    conditions = {
        (sample.name, *sorted(sample.labels.values()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "match_condition" in sample.name
    }
    begin = "apiserver_admission_match_condition_"
    assert conditions == {
        (f"{begin}exclusions_total", "CREATE", "not-b", "policy", "validating"),
        (f"{begin}evaluation_errors_total", "CREATE", "broken", "policy", "validating"),
    }
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith("_policy_check_total")
    }
    found = {key: value for key, value in found.items() if not {"not-b", "broken"} & set(key)}
    assert found == {
        ("apiserver_validating_admission_policy_check_total", "deny", "no_error", "v", "v"): 1,
        ("apiserver_validating_admission_policy_check_total", "allow", "no_error", "v", "v"): 2,
        ("apiserver_mutating_admission_policy_check_total", "m", "m", "no_error"): 3,
    }


async def test_a_policy_that_would_take_too_long_refuses(api):
    expression = "object.data.all(a, object.data.all(b, object.data.all(c, a + b != c)))"
    await policy(api, "validating", "slow", {"validations": [{"expression": expression}]})
    many = {f"k{n}": "v" for n in range(300)}
    answer = await api.post(CONFIGMAPS, configmap("a", **many))
    assert answer.status == 422 and "actual cost limit exceeded" in answer.message
    assert (await api.post(CONFIGMAPS, configmap("b", x="1"))).status == 201
