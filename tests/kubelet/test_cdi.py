import json

import pytest

from shirube.kubelet import cdi
from shirube.kubelet.device_allocation import DeviceError

KIND = "example.com/gpu"


def spec(directory, name, devices, whole=None, kind=KIND):
    directory.mkdir(exist_ok=True)
    body = {"cdiVersion": "0.6.0", "kind": kind, "devices": devices, "containerEdits": whole or {}}
    (directory / name).write_text(json.dumps(body))


def device(name, **edits):
    return {"name": name, "containerEdits": edits}


def test_what_a_device_needs(tmp_path):
    node = {"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}
    mount = {"hostPath": "/opt/gpu", "containerPath": "/gpu", "options": ["ro", "nosuid", "nodev", "bind"]}
    whole = {"env": ["DRIVER=1=2"], "mounts": [mount]}
    spec(tmp_path, "a.json", [device("0", deviceNodes=[node], env=["GPU=0"]), device("1", env=["OTHER=1"])], whole)
    (tmp_path / "notes.txt").write_text("{")
    grant = cdi.grant([f"{KIND}=0", f"{KIND}=0", f"{KIND}=1"], [tmp_path, tmp_path / "absent"])
    assert grant.envs == {"DRIVER": "1=2", "GPU": "0", "OTHER": "1"}
    assert grant.devices == [{"container_path": "/dev/gpu0", "host_path": "/dev/null", "permissions": "rw"}]
    [mounted] = grant.mounts
    assert (mounted["container_path"], mounted["host_path"], mounted["readonly"]) == ("/gpu", "/opt/gpu", True)


def test_the_later_directory_wins_and_kinds_are_kept_apart(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    spec(one, "a.json", [device("0", env=["FROM=one"])])
    spec(two, "a.json", [device("0", env=["FROM=two"])])
    spec(two, "b.yaml", [device("0", env=["FROM=elsewhere"])], kind="example.com/net")
    assert cdi.grant([f"{KIND}=0"], [one, two]).envs == {"FROM": "two"}
    assert cdi.grant(["example.com/net=0"], [one, two]).envs == {"FROM": "elsewhere"}


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"hooks": [{"hookName": "createContainer", "path": "/x"}]}, "needs hooks, which cannot be given"),
        ({"additionalGids": [5]}, "needs additionalGids"),
        ({"mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["noexec"]}]}, "mount options noexec"),
    ],
)
def test_what_the_runtime_cannot_be_told_is_refused(tmp_path, edits, why):
    spec(tmp_path, "a.json", [device("0", **edits)])
    with pytest.raises(DeviceError, match=why):
        cdi.grant([f"{KIND}=0"], [tmp_path])


def test_what_nobody_describes_is_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"unresolvable CDI device example\.com/gpu=9"):
        cdi.grant([f"{KIND}=9"], [tmp_path])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DeviceError, match=r"cannot read CDI specification .*broken.json"):
        cdi.grant([f"{KIND}=9"], [tmp_path])
