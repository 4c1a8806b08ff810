"""AdmissionConfiguration and the choice of plugins: what is read, what is refused and in which words."""

from __future__ import annotations

import pytest

from shirube.apiserver.admission import PLUGINS, configuration, selection
from shirube.apiserver.admission.table import EVERY, OFF_BY_DEFAULT
from shirube.apiserver.configuration_file import ConfigurationError

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"
SECURITY = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n"
SECURITY_INLINE = "apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration"
QUOTA = "apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration"
EVENTS = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration"
TOLERATIONS = "apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration"
WEBHOOKS = "apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration"


def entry(name, text):
    return f"{HEAD}plugins:\n- {{name: {name}, configuration: {{{text}}}}}\n"


def test_inline_and_from_files_beside_it(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "security.yaml").write_text(SECURITY + "defaults: {enforce: baseline}\n")
    (tmp_path / "admission.yaml").write_text(
        HEAD + "plugins:\n- {name: PodSecurity, path: more/security.yaml}\n"
        f"- {{name: EventRateLimit, configuration: {{{EVENTS}, limits: [{{type: Server, qps: 5, burst: 9}}]}}}}\n"
    )
    found = configuration.load(tmp_path / "admission.yaml")
    assert str(found["PodSecurity"].defaults.enforce) == "baseline:latest"
    assert found["EventRateLimit"] == (("Server", 5, 9, 0),)
    data = (tmp_path / "admission.yaml").read_bytes()
    assert configuration.files(data, tmp_path) == [tmp_path / "more" / "security.yaml"]


def test_the_older_name_of_the_group_and_nothing_to_say():
    data = b"apiVersion: apiserver.k8s.io/v1alpha1\nkind: AdmissionConfiguration\n"
    assert configuration.read(data, None) == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: AdmissionConfiguration\n", "apiVersion '', kind 'AdmissionConfiguration' is not supported: use kind"),
        ("apiVersion: v1\nkind: Pod\n", "apiVersion 'v1', kind 'Pod' is not supported"),
        ("", "the file is empty"),
        (HEAD + "plugin: []\n", 'unknown field "plugin"'),
        (HEAD + "plugins: []\nplugins: []\n", 'key "plugins" already set in map'),
        (HEAD + "plugins: {}\n", "plugins: must be a list"),
        (HEAD + "plugins: [{}]\n", "plugins[0].name: Required value"),
        (
            HEAD + "plugins: [{name: PodSecurity}]\n",
            "plugins[0].configuration: Required value: or path, for plugin Pod",
        ),
        (
            HEAD + "plugins: [{name: LimitRanger, path: x}]\n",
            "plugins[0].name: LimitRanger has nothing to configure; plugins are turned on with --enable-admission",
        ),
        (
            HEAD + "plugins: [{name: PodPolice}]\n",
            'plugins[0].name: Unsupported value: "PodPolice": supported values: ',
        ),
        (
            HEAD + "plugins:\n" + f"- {{name: ResourceQuota, configuration: {{{QUOTA}}}}}\n" * 2,
            'plugins[1].name: Duplicate value: "ResourceQuota"',
        ),
        (
            HEAD + f"plugins: [{{name: ResourceQuota, path: x, configuration: {{{QUOTA}}}}}]\n",
            'plugins[0].path: Invalid value: "x": cannot be set together with configuration',
        ),
        (HEAD + "plugins: [{name: ResourceQuota, paths: x}]\n", 'unknown field "plugins[0].paths"'),
        (
            HEAD + "plugins: [{name: ResourceQuota, path: nowhere.yaml}]\n",
            "nowhere.yaml: cannot read /etc/shirube/nowhere.yaml: No such file or directory",
        ),
        (entry("PodSecurity", QUOTA), "plugins[0].configuration: apiVersion 'apiserver.config.k8s.io/v1', kind 'Resou"),
        (
            entry("PodSecurity", f"{SECURITY_INLINE}, defaults: {{enforce: based}}"),
            'plugins[0].configuration.defaults.enforce: Invalid value: "based": must be one of privileged, baseline, r',
        ),
        (
            entry("PodSecurity", f"{SECURITY_INLINE}, defaults: {{warn-version: '1.2'}}"),
            'defaults.warn-version: Invalid value: "1.2": must be "latest" or "v1.x"',
        ),
        (
            entry("PodSecurity", f"{SECURITY_INLINE}, exemptions: {{namespaces: [a, b, a]}}"),
            'exemptions.namespaces[2]: Duplicate value: "a"',
        ),
        (
            entry("PodSecurity", f"{SECURITY_INLINE}, exemptions: {{usernames: ['']}}"),
            'exemptions.usernames[0]: Invalid value: "": must not be empty',
        ),
        (
            entry("PodSecurity", f"{SECURITY_INLINE}, exemptions: {{runtimeClasses: [A_B]}}"),
            'exemptions.runtimeClasses[0]: Invalid value: "A_B": a lowercase RFC 1123 subdomain must consist',
        ),
        (
            entry("ResourceQuota", f"{QUOTA}, limitedResources: [{{apiGroup: apps}}]"),
            "plugins[0].configuration.limitedResources[0].resource: Required value",
        ),
        (
            entry("ResourceQuota", f"{QUOTA}, limitedResources: [{{resource: pods, matchScopes: [{{scopeName: X}}]}}]"),
            "limitedResources[0].matchScopes[0].operator: Required value",
        ),
        (
            entry(
                "ResourceQuota",
                f"{QUOTA}, limitedResources: [{{resource: pods, matchScopes: [{{scopeName: X, operator: In}}]}}]",
            ),
            "matchScopes[0].values: Invalid value: must be given with operator In",
        ),
        (entry("EventRateLimit", EVENTS), "plugins[0].configuration.limits: Invalid value: must not be empty"),
        (
            entry("EventRateLimit", f"{EVENTS}, limits: [{{type: Cluster, qps: 1, burst: 1}}]"),
            'limits[0].type: Unsupported value: "Cluster": supported values: "Namespace", "Server", "SourceAndObject"',
        ),
        (
            entry("EventRateLimit", f"{EVENTS}, limits: [{{type: Server, qps: 0, burst: 1}}]"),
            "limits[0].qps: Invalid value: 0: must be positive",
        ),
        (
            entry("EventRateLimit", f"{EVENTS}, limits: [{{type: User, qps: 1, burst: 1, cacheSize: -1}}]"),
            "limits[0].cacheSize: Invalid value: -1: must not be negative",
        ),
        (
            entry("PodNodeSelector", "podNodeSelectorPluginConfig: {default: 'a=b,c'}"),
            'podNodeSelectorPluginConfig.default: Invalid value: "a=b,c": invalid selector: c',
        ),
        (
            entry("PodTolerationRestriction", f"{TOLERATIONS}, default: [{{effect: NoSleep}}]"),
            'default[0].effect: Unsupported value: "NoSleep": supported values: "NoSchedule", "PreferNoSchedule", "NoE',
        ),
        (
            entry("MutatingAdmissionWebhook", f"{WEBHOOKS}, kubeConfigFile: here"),
            'plugins[0].configuration.kubeConfigFile: Invalid value: "here": must be an absolute file path',
        ),
        (
            entry("ValidatingAdmissionWebhook", f"{WEBHOOKS}, kubeConfigFile: /nowhere/config"),
            "kubeConfigFile: cannot read kubeconfig /nowhere/config: No such file or directory",
        ),
        (entry("ImagePolicyWebhook", "allowTTL: 1"), 'unknown field "plugins[0].configuration.allowTTL"'),
        (entry("ImagePolicyWebhook", "imagePolicy: {}"), "imagePolicy.kubeConfigFile: Required value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, why):
    with pytest.raises(ConfigurationError) as caught:
        configuration.read(text.encode(), type(tmp_path)("/etc/shirube"))
    assert why in str(caught.value)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "admission.yaml"
    with pytest.raises(ConfigurationError, match=f"cannot read {path}: No such file"):
        configuration.load(path)
    path.write_text(HEAD + "plugins: [{name: PodSecurity, path: pods.yaml}]\n")
    (tmp_path / "pods.yaml").write_text(SECURITY + "default: {}\n")
    with pytest.raises(ConfigurationError) as caught:
        configuration.load(path)
    assert str(caught.value) == f'cannot use {path}: plugins[0].path: {tmp_path}/pods.yaml: unknown field "default"'


# -- which plugins ------------------------------------------------------------------------------------------


def names(enable="", disable="", configured=()):
    return [plugin.name for plugin in selection.chosen(enable, disable, configured)]


def test_by_default():
    assert names() == [plugin.name for plugin in PLUGINS]
    assert not OFF_BY_DEFAULT & set(names())


def test_the_order_does_not_depend_on_how_they_are_asked_for():
    off = sorted(OFF_BY_DEFAULT)
    every = [plugin.name for plugin in EVERY]
    needing = [plugin.name for plugin in EVERY if plugin.must_be_configured]
    assert names(",".join(off), configured=needing) == names(" , ".join(reversed(off)), configured=needing) == every
    assert names(disable="LimitRanger,ResourceQuota") == [
        n for n in names() if n not in ("LimitRanger", "ResourceQuota")
    ]
    assert names("PodGroupProtection", "JobValidation") == names(), "what feature gates keep off may be named"


def test_what_is_configured_is_on_unless_it_is_disabled():
    assert set(names(configured=["PodNodeSelector"])) - set(names()) == {"PodNodeSelector"}
    assert names(disable="PodNodeSelector", configured=["PodNodeSelector"]) == names()


@pytest.mark.parametrize(
    ("enable", "disable", "why"),
    [
        (
            "AlwaysPull",
            "",
            'cannot use --enable-admission-plugins: admission plugin "AlwaysPull" is unknown; known are A',
        ),
        ("", "RbacEscalation", 'cannot use --disable-admission-plugins: admission plugin "RbacEscalation" is unknown'),
        ("Priority", "LimitRanger,Priority", "Priority is in --disable-admission-plugins, too"),
        ("EventRateLimit", "", "cannot turn on admission plugin EventRateLimit: it has no configuration; give it one"),
        ("ImagePolicyWebhook", "", "cannot turn on admission plugin ImagePolicyWebhook: it has no configuration"),
    ],
)
def test_a_choice_that_cannot_be(enable, disable, why):
    with pytest.raises(ConfigurationError) as caught:
        names(enable, disable)
    assert why in str(caught.value)


async def test_a_server_with_a_plugin_less(start):
    async with start(off="ServiceAccount") as api:
        body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        made = await api.ok("POST", "/api/v1/namespaces/default/pods", body)
        assert "serviceAccountName" not in made["spec"]


async def test_a_server_that_cannot_be_does_not_start(start):
    with pytest.raises(ConfigurationError, match=r"plugins\[0\]\.name: Unsupported value"):
        async with start(Nonsense={}):
            pass
