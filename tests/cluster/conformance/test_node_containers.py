"""What a container finds when it starts: command, environment, user, privileges, files of the agent."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.cluster.conformance.api import MERGE, Api, Obj, Refused, refused
from tests.cluster.conformance.batch import Batch, Case, tool, tool_pod
from tests.waiting import eventually

from shirube.api import quantity

S = "[sig-node] "
N = " [NodeConformance] [Conformance]"
L = " [LinuxOnly] [NodeConformance] [Conformance]"

DATA = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
# Everything printable but "=" may stand in a variable's name.
PREFIXES = ("p1-", "#$%^&*()", "1_2", " !", "a.b:c/", "[]{}|", "\\\"'`~?<>,;@+")


def stored(kind: str, name: str) -> Obj:
    secret = {key: base64.b64encode(value.encode()).decode() for key, value in DATA.items()}
    data = DATA if kind == "ConfigMap" else secret
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}


NEEDS = (stored("ConfigMap", "config"), stored("Secret", "hidden"))


def environment(*lines: Any, **container: Any) -> Case:
    """`env` without a shell, which would leave out names that it does not like."""
    return Case(tool_pod({**tool(**container), "command": ["/bin/env"]}), lines, NEEDS)


def from_all(kind: str) -> Case:
    ref = {"configMapRef": {"name": "config"}} if kind == "ConfigMap" else {"secretRef": {"name": "hidden"}}
    lines = [f"{prefix}{key}={value}" for prefix in ("", "p_") for key, value in DATA.items()]
    return environment(*lines, envFrom=[ref, {"prefix": "p_", **ref}])


def with_prefixes(kind: str) -> Case:
    ref = {"configMapRef": {"name": "config"}} if kind == "ConfigMap" else {"secretRef": {"name": "hidden"}}
    lines = [f"{prefix}{key}={value}" for prefix in PREFIXES for key, value in DATA.items()]
    return environment(*lines, envFrom=[{"prefix": prefix, **ref} for prefix in PREFIXES])


def key_of(kind: str, name: str) -> Obj:
    return {"name": "DATA_1", "valueFrom": {f"{kind}KeyRef": {"name": name, "key": "data-1"}}}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            environment("DATA_1=value-1", env=[key_of("configMap", "config")]),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable via environment variable{N}"),
        ),
        pytest.param(
            from_all("ConfigMap"),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable via the environment{N}"),
        ),
        pytest.param(
            with_prefixes("ConfigMap"),
            marks=pytest.mark.conformance(
                f"{S}ConfigMap should be consumable as environment variable names with various prefixes [Conformance]"
            ),
        ),
        pytest.param(
            environment("DATA_1=value-1", env=[key_of("secret", "hidden")]),
            marks=pytest.mark.conformance(f"{S}Secrets should be consumable from pods in env vars{N}"),
        ),
        pytest.param(
            from_all("Secret"),
            marks=pytest.mark.conformance(f"{S}Secrets should be consumable via the environment{N}"),
        ),
        pytest.param(
            with_prefixes("Secret"),
            marks=pytest.mark.conformance(
                f"{S}Secrets should be consumable as environment variable names variable names with various prefixes "
                "[Conformance]"
            ),
        ),
    ],
)
def test_environment(batch: Batch, case: Case):
    batch.check(case)


# -- downward API


def field(name: str, path: str) -> Obj:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, which: str) -> Obj:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": which}}}


LIMITS = [
    resource("CPU_LIMIT", "limits.cpu"),
    resource("MEMORY_LIMIT", "limits.memory"),
    resource("CPU_REQUEST", "requests.cpu"),
    resource("MEMORY_REQUEST", "requests.memory"),
]
RESOURCES = {"requests": {"cpu": "25m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def allocatable(name: str, what: str) -> Any:
    return lambda _, node: f"{name}={quantity.value(node['status']['allocatable'][what])}"


def status(name: str, key: str) -> Any:
    return lambda pod, _: f"{name}={pod['status'][key]}"


def host_ips(pod: Obj, _: Obj) -> str:
    return "HOST_IPS=" + ",".join(one["ip"] for one in pod["status"]["hostIPs"])


def metadata(name: str, key: str) -> Any:
    return lambda pod, _: f"{name}={pod['metadata'][key]}"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            environment(
                "CPU_LIMIT=2",
                "MEMORY_LIMIT=67108864",
                "CPU_REQUEST=1",
                "MEMORY_REQUEST=33554432",
                env=LIMITS,
                resources=RESOURCES,
            ),
            marks=pytest.mark.conformance(
                f"{S}Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars{N}"
            ),
        ),
        pytest.param(
            environment(allocatable("CPU_LIMIT", "cpu"), allocatable("MEMORY_LIMIT", "memory"), env=LIMITS[:2]),
            marks=pytest.mark.conformance(
                f"{S}Downward API should provide default limits.cpu/memory from node allocatable{N}"
            ),
        ),
        pytest.param(
            environment(status("HOST_IP", "hostIP"), env=[field("HOST_IP", "status.hostIP")]),
            marks=pytest.mark.conformance(f"{S}Downward API should provide host IP as an env var{N}"),
        ),
        pytest.param(
            environment(host_ips, env=[field("HOST_IPS", "status.hostIPs")]),
            marks=pytest.mark.conformance(f"{S}Downward API should provide hostIPs as an env var{N}"),
        ),
        pytest.param(
            environment(metadata("POD_UID", "uid"), env=[field("POD_UID", "metadata.uid")]),
            marks=pytest.mark.conformance(f"{S}Downward API should provide pod UID as env vars{N}"),
        ),
        pytest.param(
            environment(
                metadata("POD_NAME", "name"),
                metadata("POD_NAMESPACE", "namespace"),
                status("POD_IP", "podIP"),
                env=[
                    field("POD_NAME", "metadata.name"),
                    field("POD_NAMESPACE", "metadata.namespace"),
                    field("POD_IP", "status.podIP"),
                ],
            ),
            marks=pytest.mark.conformance(
                f"{S}Downward API should provide pod name, namespace and IP address as env vars{N}"
            ),
        ),
    ],
)
def test_downward(batch: Batch, case: Case):
    batch.check(case)


# -- command and arguments, $(VAR)


def runs(*lines: Any, **container: Any) -> Case:
    return Case(tool_pod(tool(**container)), lines)


ENV = [{"name": "FOO", "value": "foo-value"}, {"name": "BAR", "value": "bar-value"}]
COMPOSED = [*ENV, {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"}]
ECHO = ["/bin/echo", "other"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            runs("entrypoint default arguments"),
            marks=pytest.mark.conformance(
                f"{S}Containers should use the image defaults if command and args are blank{N}"
            ),
        ),
        pytest.param(
            runs("entrypoint override arguments", args=["override", "arguments"]),
            marks=pytest.mark.conformance(
                f"{S}Containers should be able to override the image's default arguments (container cmd){N}"
            ),
        ),
        pytest.param(
            runs("other", command=ECHO),
            marks=pytest.mark.conformance(
                f"{S}Containers should be able to override the image's default command (container entrypoint){N}"
            ),
        ),
        pytest.param(
            runs("other override arguments", command=ECHO, args=["override", "arguments"]),
            marks=pytest.mark.conformance(
                f"{S}Containers should be able to override the image's default command and arguments{N}"
            ),
        ),
        pytest.param(
            environment("FOO=foo-value", "BAR=bar-value", "FOOBAR=foo-value;;bar-value", env=COMPOSED),
            marks=pytest.mark.conformance(
                f"{S}Variable Expansion should allow composing env vars into new env vars{N}"
            ),
        ),
        pytest.param(
            runs(
                "test-value",
                command=["/bin/sh", "-c", "TEST_VAR=wrong echo $(TEST_VAR)"],
                env=[{"name": "TEST_VAR", "value": "test-value"}],
            ),
            marks=pytest.mark.conformance(
                f"{S}Variable Expansion should allow substituting values in a container's command{N}"
            ),
        ),
        pytest.param(
            runs(
                "test-value",
                command=["/bin/sh", "-c"],
                args=["TEST_VAR=wrong echo $(TEST_VAR)"],
                env=[{"name": "TEST_VAR", "value": "test-value"}],
            ),
            marks=pytest.mark.conformance(
                f"{S}Variable Expansion should allow substituting values in a container's args{N}"
            ),
        ),
    ],
)
def test_command(batch: Batch, case: Case):
    batch.check(case)


# -- user and privileges


def secure(script: str, *lines: Any, pod: Any = None, **context: Any) -> Case:
    return Case(tool_pod(tool(script, securityContext=context), securityContext=pod or {}), lines)


IDS = "id -u; id -g"


def no_escalation() -> Case:
    """A set-user-ID program of root, run by somebody else, gains nothing."""
    mounts = [{"name": "v", "mountPath": "/v"}]
    prepare = tool("cp /bin/id /v/id; chmod 4755 /v/id", "prepare", volumeMounts=mounts)

    def run(name: str, allowed: bool) -> Obj:
        context = {"runAsUser": 1000, "allowPrivilegeEscalation": allowed}
        return tool("echo Effective uid: $(/v/id -u)", name, volumeMounts=mounts, securityContext=context)

    made = tool_pod(run("main", False), initContainers=[prepare], volumes=[{"name": "v", "emptyDir": {}}])
    return Case(made, ("Effective uid: 1000",))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            secure("[ $(id -u) -eq 65534 ] && id -u", "65534", runAsUser=65534),
            marks=pytest.mark.conformance(
                f"{S}Security Context When creating a container with runAsUser should run the container with uid "
                f"65534{L}"
            ),
        ),
        pytest.param(
            secure("ip link add dummy0 type dummy || echo refused", "refused", privileged=False),
            marks=pytest.mark.conformance(
                f"{S}Security Context When creating a pod with privileged should run the container as unprivileged "
                f"when false{L}"
            ),
        ),
        pytest.param(
            secure("touch /checkfile && ls /checkfile", "/checkfile", readOnlyRootFilesystem=False),
            marks=pytest.mark.conformance(
                f"{S}Security Context When creating a pod with readOnlyRootFilesystem should run the container with "
                f"writable rootfs when readOnlyRootFilesystem=false{N}"
            ),
        ),
        pytest.param(
            secure("echo test > /file || echo refused", "refused", readOnlyRootFilesystem=True),
            marks=pytest.mark.conformance(
                f"{S}Kubelet when scheduling a read only busybox container should not write to root filesystem{L}"
            ),
        ),
        pytest.param(
            secure(IDS, "1001", "2002", runAsUser=1001, runAsGroup=2002),
            marks=pytest.mark.conformance(
                f"{S}Security Context should support container.SecurityContext.RunAsUser And "
                "container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
            ),
        ),
        pytest.param(
            secure(IDS, "1001", "2002", pod={"runAsUser": 1001, "runAsGroup": 2002}),
            marks=pytest.mark.conformance(
                f"{S}Security Context should support pod.Spec.SecurityContext.RunAsUser And "
                "pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
            ),
        ),
        pytest.param(
            no_escalation(),
            marks=pytest.mark.conformance(
                f"{S}Security Context when creating containers with AllowPrivilegeEscalation should not allow "
                f"privilege escalation when false{L}"
            ),
        ),
        pytest.param(
            secure(
                "cat /proc/sys/kernel/shm_rmid_forced",
                "1",
                pod={"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
            ),
            marks=pytest.mark.conformance(
                f"{S}Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] "
                "[Conformance]"
            ),
        ),
    ],
)
def test_security(batch: Batch, case: Case):
    batch.check(case)


@pytest.mark.conformance(f"{S}Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]")
def test_invalid_sysctls(batch):
    names = ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..")
    made = tool_pod(
        tool("true"), name="sysctl", securityContext={"sysctls": [{"name": n, "value": "1"} for n in names]}
    )
    with pytest.raises(Refused) as error:
        batch.pods.create(made)
    assert error.value.code == 422
    for name in names:
        assert (f'Invalid value: "{name}"' in error.value.message) == (name in ("foo-", "bar.."))


# -- /etc/hosts, logs


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            Case(
                tool_pod(
                    tool("cat /etc/hosts"),
                    hostAliases=[{"ip": "123.45.67.89", "hostnames": ["foo.local", "bar.local"]}],
                ),
                ("# Kubernetes-managed hosts file.", "123.45.67.89\tfoo.local\tbar.local"),
            ),
            marks=pytest.mark.conformance(
                f"{S}Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts{N}"
            ),
        ),
        pytest.param(
            Case(tool_pod(tool("echo Hello World; echo to stderr >&2")), ("Hello World", "to stderr")),
            marks=pytest.mark.conformance(
                f"{S}Kubelet when scheduling a busybox command in a pod should print the output to logs{N}"
            ),
        ),
    ],
)
def test_files_and_logs(batch: Batch, case: Case):
    batch.check(case)


HOSTS = "head -1 /etc/hosts; head -1 /etc/hosts-original 2>&1 || true"


def hosts_pod(name: str, **spec: Any) -> Obj:
    own = {"name": "hosts", "mountPath": "/etc/hosts"}
    containers = [tool(HOSTS, "one"), tool(HOSTS, "two"), tool(HOSTS, "own", volumeMounts=[own])]
    volumes = [{"name": "hosts", "hostPath": {"path": "/etc/hosts", "type": "File"}}]
    return tool_pod(*containers, name=name, volumes=volumes, **spec)


MANAGED = "# Kubernetes-managed hosts file"


@pytest.mark.conformance(f"{S}KubeletManagedEtcHosts should test kubelet managed /etc/hosts file{N}")
def test_hosts_files(batch):
    for name in ("hosts", "hosts-of-node"):
        batch.ended(name)
    assert batch.log("hosts", "one").startswith(f"{MANAGED}.\n") and batch.log("hosts", "two").startswith(MANAGED)
    # Who brings a file of their own keeps it; on the host's network what is managed is a copy of the host's.
    assert not batch.log("hosts", "own").startswith(MANAGED)
    assert not batch.log("hosts-of-node", "own").startswith(MANAGED)
    assert not batch.log("hosts-of-node", "one").startswith(f"{MANAGED}.\n")


# -- subPathExpr

NAME = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
ANNOTATION = {"name": "ANNOTATION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}}


def sub_path(name: str, script: str, expression: str, *env: Obj, **more: Any) -> Obj:
    """A volume at /volume, and by the expression at /sub."""
    mounts = [{"name": "v", "mountPath": "/sub", "subPathExpr": expression}, {"name": "v", "mountPath": "/volume"}]
    container = tool(script, env=list(env), volumeMounts=mounts)
    return tool_pod(container, name=name, volumes=[{"name": "v", "emptyDir": {}}], **more)


PODS = [
    hosts_pod("hosts"),
    hosts_pod("hosts-of-node", hostNetwork=True),
    sub_path("sub-path", "test -d /volume/sub-path", "$(POD_NAME)", NAME),
    sub_path("sub-path-outside", "true", "$(POD_NAME)", {"name": "POD_NAME", "value": ".."}),
    sub_path("sub-path-backticks", "true", "$(POD_NAME)", {"name": "POD_NAME", "value": "../`pwd`"}),
    sub_path("sub-path-absolute", "true", "$(POD_NAME)", {"name": "POD_NAME", "value": "/tmp"}),
    sub_path(
        "sub-path-writing",
        "touch /volume/mypath/sub-path-writing/test.log && test -f /sub/test.log && echo written; exec sleep 3600",
        "$(ANNOTATION)/$(POD_NAME)",
        ANNOTATION,
        NAME,
        metadata={"annotations": {"mysubpath": "mypath"}},
    ),
    sub_path(
        "sub-path-mended",
        "exec sleep 3600",
        "$(ANNOTATION)/$(POD_NAME)",
        ANNOTATION,
        NAME,
        metadata={"annotations": {"notmysubpath": "mypath"}},
    ),
]


@pytest.mark.conformance(f"{S}Variable Expansion should allow substituting values in a volume subpath [Conformance]")
def test_sub_path(batch):
    batch.ended("sub-path")


def fails_to_start(batch: Batch, name: str) -> str:
    def waits(pod: Obj) -> bool:
        state = pod["status"]["containerStatuses"][0]["state"]
        return bool(state.get("waiting", {}).get("reason") == "CreateContainerConfigError")

    pod = batch.until(name, waits, "cannot start")
    assert pod["status"]["phase"] == "Pending"
    return str(pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"])


@pytest.mark.conformance(
    f"{S}Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]"
)
def test_sub_path_with_backticks(batch):
    for name in ("sub-path-outside", "sub-path-backticks"):
        assert "must not contain '..'" in fails_to_start(batch, name)


@pytest.mark.conformance(
    f"{S}Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]"
)
def test_sub_path_that_is_absolute(batch):
    assert "must not be an absolute path" in fails_to_start(batch, "sub-path-absolute")


@pytest.mark.conformance(
    f"{S}Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a "
    "container [Slow] [Conformance]"
)
def test_failing_sub_path_that_is_mended(batch):
    fails_to_start(batch, "sub-path-mended")
    batch.pods.patch("sub-path-mended", {"metadata": {"annotations": {"mysubpath": "mypath"}}}, MERGE)
    batch.running("sub-path-mended")
    batch.pods.delete("sub-path-mended")
    eventually(lambda: batch.pods.find("sub-path-mended") is None, "it is gone")


@pytest.mark.conformance(f"{S}Variable Expansion should succeed in writing subpaths in container [Conformance]")
def test_writing_by_a_sub_path(batch):
    name = "sub-path-writing"
    batch.running(name)
    eventually(lambda: batch.log(name) == "written\n", "the file is seen at both places")
    # The volume goes away although the expression means something else by now.
    batch.pods.patch(name, {"metadata": {"annotations": {"mysubpath": "mynewpath"}}}, MERGE)
    batch.running(name)
    batch.pods.delete(name)
    eventually(lambda: batch.pods.find(name) is None, "it is gone")


# -- the objects themselves


def empty_key(api: Api, ns: str, resource: str, kind: str) -> None:
    value = "dmFsdWU=" if kind == "Secret" else "value"
    made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "empty-key"}, "data": {"": value}}
    with refused(422, "Invalid", "data[]: Invalid value"):
        api.at("v1", resource, ns).create(made)


@pytest.mark.conformance(f"{S}ConfigMap should fail to create ConfigMap with empty key [Conformance]")
def test_config_map_with_an_empty_key(api, ns):
    empty_key(api, ns, "configmaps", "ConfigMap")


@pytest.mark.conformance(f"{S}Secrets should fail to create secret due to empty secret key [Conformance]")
def test_secret_with_an_empty_key(api, ns):
    empty_key(api, ns, "secrets", "Secret")
