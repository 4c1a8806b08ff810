"""Ingresses and their classes: HTTP routes into the cluster.

Follows networking's ``ValidateIngressCreate``, ``ValidateIngressClass``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.domain_names import validate_prefixed_path
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.service_spec import validate_status_hostname

_PATH_TYPES = ["Exact", "ImplementationSpecific", "Prefix"]
_OLD_CLASS = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")


class IngressStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        spec = obj["spec"]
        annotations = obj["metadata"].get("annotations") or {}
        if (
            _OLD_CLASS in annotations
            and spec.get("ingressClassName", annotations[_OLD_CLASS]) != annotations[_OLD_CLASS]
        ):
            detail = "must match `ingressClassName` when both are specified"
            causes.append(invalid("annotations.kubernetes.io/ingress.class", annotations[_OLD_CLASS], detail))
        _validate_spec(causes, spec)
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_spec(causes, obj["spec"])
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        entries = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        for i, entry in enumerate(entries):
            at = f"status.loadBalancer.ingress[{i}]"
            if address := entry.get("ip"):
                causes.extend(invalid(f"{at}.ip", address, m) for m in names.is_ip(address))
            validate_status_hostname(causes, entry.get("hostname", ""), f"{at}.hostname")
        return causes

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        if old is None and _OLD_CLASS in (obj["metadata"].get("annotations") or {}):
            return [f"annotation \"{_OLD_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]
        return []


def _validate_spec(causes: list[Cause], spec: Obj) -> None:
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if backend is not None:
        _validate_backend(causes, backend, "spec.defaultBackend")
    elif not rules:
        detail = "either `defaultBackend` or `rules` must be specified"
        causes.append(invalid("spec", rules, detail))
    for i, rule in enumerate(rules):
        at = f"spec.rules[{i}]"
        if host := rule.get("host"):
            _validate_host(causes, host, f"{at}.host")
        http = rule.get("http")
        if http is None:
            continue
        if not http.get("paths"):
            causes.append(required(f"{at}.http.paths"))
        for j, path in enumerate(http.get("paths") or ()):
            _validate_path(causes, path, f"{at}.http.paths[{j}]")
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            rule_of = names.is_wildcard_dns1123_subdomain if "*" in host else names.is_dns1123_subdomain
            causes.extend(invalid(f"spec.tls[{i}].hosts[{j}]", host, m) for m in rule_of(host))
        if secret := tls.get("secretName"):
            causes.extend(invalid(f"spec.tls[{i}].secretName", secret, m) for m in names.is_dns1123_subdomain(secret))
    if name := spec.get("ingressClassName"):
        causes.extend(invalid("spec.ingressClassName", name, m) for m in names.is_dns1123_subdomain(name))


def _validate_host(causes: list[Cause], host: str, path: str) -> None:
    if not names.is_ip(host):
        causes.append(invalid(path, host, "must be a DNS name, not an IP address"))
    rule_of = names.is_wildcard_dns1123_subdomain if "*" in host else names.is_dns1123_subdomain
    causes.extend(invalid(path, host, m) for m in rule_of(host))


def _validate_path(causes: list[Cause], path: Obj, at: str) -> None:
    kind, text = path.get("pathType"), path.get("path", "")
    if kind is None:
        causes.append(required(f"{at}.pathType", "pathType must be specified"))
    elif kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            causes.append(invalid(f"{at}.path", text, "must be an absolute path"))
        if text:
            for bad in _BAD_SEQUENCES:
                if bad in text:
                    causes.append(invalid(f"{at}.path", text, f"must not contain '{bad}'"))
            for bad in _BAD_SUFFIXES:
                if text.endswith(bad):
                    causes.append(invalid(f"{at}.path", text, f"cannot end with '{bad}'"))
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            causes.append(invalid(f"{at}.path", text, "must be an absolute path"))
    else:
        causes.append(not_supported(f"{at}.pathType", kind, _PATH_TYPES))
    _validate_backend(causes, path.get("backend") or {}, f"{at}.backend")


def _validate_reference(causes: list[Cause], reference: Obj, path: str) -> None:
    """An object of some other kind, by group, kind and name."""
    group = reference.get("apiGroup")
    if group is not None:
        causes.extend(invalid(f"{path}.apiGroup", group, m) for m in names.is_dns1123_subdomain(group))
    for field in ("kind", "name"):
        value = reference.get(field, "")
        if not value:
            causes.append(required(f"{path}.{field}", f"{field} is required"))
        else:
            causes.extend(invalid(f"{path}.{field}", value, m) for m in names.is_path_segment_name(value))


def _validate_backend(causes: list[Cause], backend: Obj, path: str) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        causes.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        _validate_reference(causes, resource, f"{path}.resource")
    elif service is not None:
        name, port = service.get("name", ""), service.get("port") or {}
        if not name:
            causes.append(required(f"{path}.service.name"))
        else:
            causes.extend(invalid(f"{path}.service.name", name, m) for m in names.is_dns1123_label(name))
        at = f"{path}.service.port"
        if port.get("name") and port.get("number"):
            causes.append(invalid(path, "", "cannot set both port name & port number"))
        elif port.get("name"):
            causes.extend(invalid(f"{at}.name", port["name"], m) for m in names.is_port_name(port["name"]))
        elif port.get("number"):
            causes.extend(invalid(f"{at}.number", port["number"], m) for m in names.is_port_number(port["number"]))
        else:
            causes.append(required(path, "port name or number is required"))
    else:
        causes.append(invalid(path, "", "resource or service backend is required"))


class IngressClassStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        parameters = obj.setdefault("spec", {}).get("parameters")
        if parameters is not None and not parameters.get("scope"):
            parameters["scope"] = "Cluster"

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        spec = obj["spec"]
        controller = spec.get("controller", "")
        if len(controller) > 250:
            causes.append(Cause.too_long("spec.controller", 250))
        validate_prefixed_path(causes, controller, "spec.controller")
        _validate_parameters(causes, spec.get("parameters"))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_parameters(causes, obj["spec"].get("parameters"))
        return causes + immutable(obj["spec"].get("controller"), old["spec"].get("controller"), "spec.controller")


def _validate_parameters(causes: list[Cause], parameters: Obj | None) -> None:
    if parameters is None:
        return
    _validate_reference(causes, parameters, "spec.parameters")
    scope, namespace = parameters.get("scope", ""), parameters.get("namespace")
    if scope not in ("Cluster", "Namespace"):
        causes.append(not_supported("spec.parameters.scope", scope, ["Cluster", "Namespace"]))
    elif scope == "Namespace":
        if not namespace:
            detail = "`parameters.scope` is set to 'Namespace'"
            causes.append(required("spec.parameters.namespace", detail))
        else:
            at = "spec.parameters.namespace"
            causes.extend(invalid(at, namespace, m) for m in names.is_dns1123_label(namespace))
    elif scope == "Cluster" and namespace is not None:
        detail = "`parameters.scope` is set to 'Cluster'"
        causes.append(forbidden("spec.parameters.namespace", detail))
