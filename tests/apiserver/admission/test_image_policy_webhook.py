"""ImagePolicyWebhook: a backend over TLS that says which images may run."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.apiserver.authentication.conftest import Oidc, certificate, serve
from tests.apiserver.conftest import PODS, pod

from shirube.apiserver.admission import image_policy_webhook
from shirube.apiserver.admission.image_policy_webhook import read_configuration
from shirube.apiserver.admission.request import AdmissionRequest
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.foundation.clock import ManualClock
from shirube.serving.messages import Response

KUBECONFIG = """
current-context: x
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{port}/images", certificate-authority: {cert}}}}}]
users: [{{name: u, user: {{token: shown}}}}]
"""


class Backend(Oidc):
    """Refuses the images in `bad`; `answers`, if any, come first."""

    def __init__(self, authority: str):
        super().__init__(authority)
        self.bad: dict[str, str] = {}
        self.specs: list = []
        self.answers: list[Response] = []
        self.notes: dict[str, str] = {}

    async def handle(self, request):
        self.heard.append(request)
        review = orjson.loads(await request.read(1 << 20))
        if self.answers:
            return self.answers.pop(0)
        assert (review["apiVersion"], review["kind"]) == ("imagepolicy.k8s.io/v1alpha1", "ImageReview")
        self.specs.append(review["spec"])
        reasons = [self.bad[c["image"]] for c in review["spec"]["containers"] if c["image"] in self.bad]
        status = {"allowed": not reasons, "reason": reasons[0] if reasons else "", "auditAnnotations": self.notes}
        return Response(200, orjson.dumps({**review, "status": status}))


@pytest.fixture
async def backend(tmp_path):
    cert, key, authority = certificate(tmp_path)
    made = Backend(authority)
    server = await serve(made, cert, key)
    (tmp_path / "backend.kubeconfig").write_text(KUBECONFIG.format(port=made.port, cert=cert))
    made.config = {"imagePolicy": {"kubeConfigFile": str(tmp_path / "backend.kubeconfig"), "retryBackoff": 1}}
    async with asyncio.timeout(60):
        yield made
    await server.drain(0)


def images(name, *every, **more):
    return pod(name, containers=[{"name": f"c{n}", "image": image} for n, image in enumerate(every)], **more)


async def test_images_are_reviewed(start, backend):
    backend.bad = {"evil:1": "never heard of it", "odd:1": ""}
    async with start(ImagePolicyWebhook=backend.config) as api:
        body = images("a", "good:1", initContainers=[{"name": "i", "image": "good:2"}])
        body["metadata"]["annotations"] = {"my.image-policy.k8s.io/ticket": "7", "other": "x"}
        assert (await api.post(PODS, body)).status == 201
        assert backend.specs == [
            {
                "containers": [{"image": "good:1"}, {"image": "good:2"}],
                "namespace": "default",
                "annotations": {"my.image-policy.k8s.io/ticket": "7"},
            }
        ]
        assert backend.heard[0].headers.get("authorization") == "Bearer shown"
        assert backend.heard[0].path == "/images"
        answer = await api.post(PODS, images("b", "good:1", "evil:1"))
        assert answer.status == 403
        assert answer.message == (
            'pods "b" is forbidden: image policy webhook backend denied one or more images: never heard of it'
        )
        answer = await api.post(PODS, images("b", "odd:1"))
        assert answer.message == 'pods "b" is forbidden: one or more images rejected by webhook backend'
        debug = {"spec": {"ephemeralContainers": [{"name": "x", "image": "evil:1"}]}}
        answer = await api.patch(f"{PODS}/a/ephemeralcontainers", debug, kind="strategic-merge-patch+json")
        assert answer.status == 403
        assert backend.specs[-1]["containers"] == [{"image": "evil:1"}], "the others were reviewed before"


async def test_answers_are_remembered_for_a_while(start, backend):
    clock = ManualClock()
    backend.config["imagePolicy"] |= {"allowTTL": 60, "denyTTL": -1}
    backend.bad = {"evil:1": "no"}
    async with start(clock=clock, ImagePolicyWebhook=backend.config) as api:
        for name in ("a", "b"):
            assert (await api.post(PODS, images(name, "good:1"))).status == 201
        assert len(backend.specs) == 1
        clock.advance(61)
        assert (await api.post(PODS, images("c", "good:1"))).status == 201
        assert len(backend.specs) == 2
        for _ in range(2):
            assert (await api.post(PODS, images("d", "evil:1"))).status == 403
        assert len(backend.specs) == 4, "refusals are not remembered with -1"


async def test_who_does_not_answer_at_once_is_asked_again(start, backend):
    async with start(ImagePolicyWebhook=backend.config) as api:
        backend.answers = [Response(500, b""), Response(429, b"")]
        assert (await api.post(PODS, images("a", "good:1"))).status == 201
        assert len(backend.heard) == 3
        backend.answers = [Response(503, b"") for _ in range(image_policy_webhook.TRIES)]
        answer = await api.post(PODS, images("b", "good:2"))
        assert answer.status == 403 and answer.message.endswith("backend did not answer: it answered 503")
        backend.answers = [Response(200, b"what?")]
        assert (await api.post(PODS, images("b", "good:2"))).status == 403
        backend.answers = [Response(302, b"", headers=[("Location", "https://127.0.0.1:1/")])]
        assert "it answered 302" in (await api.post(PODS, images("b", "good:2"))).message


async def test_a_backend_that_is_away_may_count_as_consent(start, backend, monkeypatch):
    notes: dict[str, str] = {}
    monkeypatch.setattr(AdmissionRequest, "annotate", lambda self, key, value: notes.setdefault(key, value))
    backend.config["imagePolicy"] |= {"defaultAllow": True, "retryBackoff": -1}
    async with start(ImagePolicyWebhook=backend.config) as api:
        backend.answers = [Response(404, b"")]
        assert (await api.post(PODS, images("a", "good:1"))).status == 201
        assert notes["imagepolicywebhook.image-policy.k8s.io/failed-open"] == "true"
        backend.notes = {"checked": "by hand"}
        assert (await api.post(PODS, images("b", "good:2"))).status == 201
        assert notes["imagepolicywebhook.image-policy.k8s.io/checked"] == "by hand"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"kubeConfigFile": "here"},
            'imagePolicy.kubeConfigFile: Invalid value: "here": must be an absolute file path',
        ),
        ({"kubeConfigFile": "/nowhere"}, "imagePolicy.kubeConfigFile: cannot read kubeconfig /nowhere"),
        ({"allowTTL": 1801}, "imagePolicy.allowTTL: Invalid value: 1801: must be at most 1800, or -1 for none"),
        ({"retryBackoff": -2}, "imagePolicy.retryBackoff: Invalid value: -2"),
        ({"defaultDeny": True}, 'unknown field "imagePolicy.defaultDeny"'),
    ],
)
async def test_wrong_configurations(backend, more, why):
    with pytest.raises(ConfigurationError) as caught:
        read_configuration({"imagePolicy": {**backend.config["imagePolicy"], **more}}, "")
    assert why in str(caught.value)
