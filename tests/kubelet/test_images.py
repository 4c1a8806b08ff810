import base64

import orjson
import pytest

from shirube.kubelet.images import _credentials, default_tag, pull_policy


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "nginx:latest"),
        ("host:5000/nginx", "host:5000/nginx:latest"),
        ("nginx:1", "nginx:1"),
        ("nginx@sha256:ab", "nginx@sha256:ab"),
    ],
)
def test_tags(image, expected):
    assert default_tag(image) == expected


def test_policies():
    assert pull_policy({"image": "a"}) == "Always"
    assert pull_policy({"image": "a:1"}) == "IfNotPresent"
    assert pull_policy({"image": "a", "imagePullPolicy": "Never"}) == "Never"


def secret(auths):
    data = base64.b64encode(orjson.dumps({"auths": auths})).decode()
    return {"data": {".dockerconfigjson": data}}


def test_credentials_go_to_their_registry_the_closest_match_first():
    auth = base64.b64encode(b"u:p:q").decode()
    secrets = [
        secret({"reg.example": {"auth": auth}, "other.example": {"username": "no"}}),
        secret({"https://reg.example/team": {"username": "t", "password": "w"}}),
        {"data": {".dockerconfigjson": "!!"}},
    ]
    found = _credentials("reg.example/team/app:1", secrets)
    assert found == [{"username": "t", "password": "w"}, {"username": "u", "password": "p:q"}]
    assert _credentials("nginx", [secret({"https://index.docker.io/v1/": {"username": "d"}})])[0]["username"] == "d"
