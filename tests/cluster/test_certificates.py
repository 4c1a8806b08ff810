"""The PKI is made once, kept, and renewed exactly when it must be."""

from __future__ import annotations

import socket
import ssl
import stat
import threading

import pytest
import yaml
from cryptography import x509

from shirube.cluster import kubeconfig
from shirube.cluster.certificates import CertificateError, ensure_node, ensure_pki
from shirube.foundation.clock import ManualClock

DAY = 86400.0


def make(directory, clock=None, addresses=("10.96.0.1",), names=("api.example",)):
    return ensure_pki(
        directory, cluster_name="t", api_names=names, api_addresses=addresses, clock=clock or ManualClock()
    )


def contents(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_second_call_changes_nothing(tmp_path):
    pki = make(tmp_path)
    ensure_node(pki, "n-1", ["172.30.0.2"], clock=ManualClock())
    before = contents(tmp_path)
    ensure_node(make(tmp_path), "n-1", ["172.30.0.2"], clock=ManualClock())
    assert contents(tmp_path) == before
    assert len(before) == 26


def test_files_are_private(tmp_path):
    make(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_identities_are_upstreams(tmp_path):
    pki = make(tmp_path)
    node = ensure_node(pki, "n-1", ["172.30.0.2"], clock=ManualClock())
    table = [
        (pki.admin, "kubernetes-admin", ["system:masters"]),
        (pki.controller_manager, "system:kube-controller-manager", []),
        (pki.scheduler, "system:kube-scheduler", []),
        (pki.kube_proxy, "system:kube-proxy", []),
        (pki.apiserver_kubelet_client, "kube-apiserver-kubelet-client", ["system:masters"]),
        (node.client, "system:node:n-1", ["system:nodes"]),
        (node.serving, "system:node:n-1", ["system:nodes"]),
    ]
    for pair, name, groups in table:
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        assert [a.value for a in cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)] == [name]
        found = [a.value for a in cert.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
        assert found == groups


def test_renewed_when_less_than_thirty_days_are_left(tmp_path):
    clock = ManualClock()
    pki = make(tmp_path, clock)
    first = contents(tmp_path)
    clock.advance(334 * DAY)
    make(tmp_path, clock)
    assert contents(tmp_path) == first
    clock.advance(2 * DAY)
    make(tmp_path, clock)
    after = contents(tmp_path)
    assert after[pki.apiserver.cert.relative_to(tmp_path)] != first[pki.apiserver.cert.relative_to(tmp_path)]
    assert after[pki.ca.cert.relative_to(tmp_path)] == first[pki.ca.cert.relative_to(tmp_path)]
    assert after[pki.service_account_key.relative_to(tmp_path)] == first[pki.service_account_key.relative_to(tmp_path)]


def test_new_address_renews_only_the_serving_certificate(tmp_path):
    make(tmp_path)
    before = contents(tmp_path)
    pki = make(tmp_path, addresses=("10.96.0.1", "192.0.2.7"))
    changed = {str(p) for p, data in contents(tmp_path).items() if before[p] != data}
    assert changed == {"apiserver.crt", "apiserver.key"}
    cert = x509.load_pem_x509_certificate(pki.apiserver.cert.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "192.0.2.7" in {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    assert "api.example" in names.get_values_for_type(x509.DNSName)
    assert "kubernetes.default.svc.cluster.local" in names.get_values_for_type(x509.DNSName)


def test_pair_torn_by_a_crash_is_replaced(tmp_path):
    pki = make(tmp_path)
    pki.admin.key.write_bytes(pki.scheduler.key.read_bytes())
    pki.scheduler.cert.write_bytes(b"rubbish")
    pki.kube_proxy.cert.unlink()
    make(tmp_path)
    for pair in (pki.admin, pki.scheduler, pki.kube_proxy):
        ssl.create_default_context().load_cert_chain(pair.cert, pair.key)


def test_authority_is_never_replaced_silently(tmp_path):
    pki = make(tmp_path)
    pki.ca.key.unlink()
    with pytest.raises(CertificateError, match=r"its key .*ca\.key is missing"):
        make(tmp_path)


def test_mutual_tls_works(tmp_path):
    from shirube.foundation.clock import SYSTEM

    pki = make(tmp_path, SYSTEM)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.apiserver.cert, pki.apiserver.key)
    server.load_verify_locations(pki.ca.cert)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(pki.ca.cert))
    client.load_cert_chain(pki.admin.cert, pki.admin.key)
    left, right = socket.socketpair()
    seen = {}

    def serve():
        with server.wrap_socket(left, server_side=True) as tls:
            seen.update(tls.getpeercert())
            tls.sendall(b"ok")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right, server_hostname="10.96.0.1") as tls:
        assert tls.recv(2) == b"ok"
    thread.join(5)
    assert (("commonName", "kubernetes-admin"),) in seen["subject"]


def test_kubeconfig_embeds_everything(tmp_path):
    pki = make(tmp_path / "pki")
    path = tmp_path / "admin.kubeconfig"
    kubeconfig.write(path, "https://127.0.0.1:6443", pki.ca.cert, pki.admin.cert, pki.admin.key, "t")
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == "t"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stamp = path.stat().st_mtime_ns
    kubeconfig.write(path, "https://127.0.0.1:6443", pki.ca.cert, pki.admin.cert, pki.admin.key, "t")
    assert path.stat().st_mtime_ns == stamp
