"""A cluster's keys and certificates: made once, checked at every start, renewed before they end.

`ensure_pki` and `ensure_node` are idempotent: a pair on disk is kept while it is valid for 30 more days, was
signed by the present CA, carries the wanted names and addresses and fits its key; otherwise it is made anew.
Keys are P-256 (RSA is 30 times slower to make). Files are mode 0600 and written by rename, key before
certificate, so that a crash between the two leaves a pair that the next call sees as not matching and
replaces. A certificate authority is never replaced by itself: everything that it signed would end with it.

Names, groups and file names follow kubeadm ("PKI certificates and requirements" in the upstream
documentation). `cluster.kubeconfig` writes the files that carry the client pairs.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shirube.foundation.clock import SYSTEM, Clock

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
# Machines that join may be a little behind.
BACKDATE = timedelta(minutes=5)

_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Pair:
    """A PEM certificate and its PEM private key, by path."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class NodePki:
    """What one node holds: who it is to the API server, and what its own HTTPS API shows."""

    client: Pair
    serving: Pair


@dataclass(frozen=True, slots=True)
class Pki:
    directory: Path
    ca: Pair
    apiserver: Pair
    apiserver_kubelet_client: Pair
    front_proxy_ca: Pair
    front_proxy_client: Pair
    service_account_key: Path
    service_account_public_key: Path
    admin: Pair
    controller_manager: Pair
    scheduler: Pair
    kube_proxy: Pair
    metrics_server: Pair


@dataclass(frozen=True, slots=True)
class EtcdPki:
    """An authority of etcd's own: who holds one of its client pairs may read every Secret, so the cluster's does not
    sign for it."""

    ca: Pair
    server: Pair
    client: Pair

    def url(self, address: str) -> str:
        """Where `storage.open_storage` finds the etcd that listens on `address`."""
        return f"etcds://{address}?ca={self.ca.cert}&cert={self.client.cert}&key={self.client.key}"

    def server_flags(self) -> list[str]:
        """etcd's own flags: TLS, and nobody without a certificate."""
        return [
            f"--cert-file={self.server.cert}",
            f"--key-file={self.server.key}",
            f"--trusted-ca-file={self.ca.cert}",
            "--client-cert-auth=true",
        ]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What a certificate is to say; compared with what the one on disk says."""

    common_name: str
    organizations: tuple[str, ...] = ()
    usages: tuple[x509.ObjectIdentifier, ...] = (_CLIENT,)
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def ensure_pki(
    directory: Path | str,
    *,
    cluster_name: str,
    api_names: Sequence[str],
    api_addresses: Sequence[str],
    clock: Clock = SYSTEM,
) -> Pki:
    """Everything the control plane needs, under `directory`.

    `api_names` and `api_addresses` are what clients may call the API server, besides `localhost` and
    `kubernetes.default.svc…`, which are always there. `cluster_name` names the authorities.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = _ensure_authority(root, "ca", f"{cluster_name}-ca", clock)
    front_ca = _ensure_authority(root, "front-proxy-ca", f"{cluster_name}-front-proxy-ca", clock)
    names = _in_order(["kubernetes", "kubernetes.default", "kubernetes.default.svc",
                       "kubernetes.default.svc.cluster.local", "localhost", *api_names])  # fmt: skip
    addresses = _in_order(["127.0.0.1", "::1", *api_addresses])

    def leaf(name: str, wanted: _Leaf, authority: Pair = ca) -> Pair:
        return _ensure_leaf(root, name, wanted, authority, clock)

    return Pki(
        directory=root,
        ca=ca,
        apiserver=leaf("apiserver", _Leaf("kube-apiserver", (), (_SERVER,), names, addresses)),
        apiserver_kubelet_client=leaf(
            "apiserver-kubelet-client", _Leaf("kube-apiserver-kubelet-client", ("system:masters",))
        ),
        front_proxy_ca=front_ca,
        front_proxy_client=leaf("front-proxy-client", _Leaf("front-proxy-client"), front_ca),
        service_account_key=_ensure_key(root / "sa.key"),
        service_account_public_key=_ensure_public_key(root / "sa.pub", root / "sa.key"),
        admin=leaf("admin", _Leaf("kubernetes-admin", ("system:masters",))),
        controller_manager=leaf("controller-manager", _Leaf("system:kube-controller-manager")),
        scheduler=leaf("scheduler", _Leaf("system:kube-scheduler")),
        kube_proxy=leaf("kube-proxy", _Leaf("system:kube-proxy")),
        metrics_server=leaf(
            "metrics-server", _Leaf("metrics-server", (), (_SERVER,), ("metrics-server.kube-system.svc",))
        ),
    )


def ensure_node(pki: Pki, node: str, addresses: Iterable[str], *, clock: Clock = SYSTEM) -> NodePki:
    """The pairs of one node, under `<directory>/nodes/<node>`; `addresses` are where its API is dialled."""
    root = pki.directory / "nodes" / node
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    user = f"system:node:{node}"
    groups = ("system:nodes",)
    serving = _Leaf(user, groups, (_SERVER,), (node,), _in_order(addresses))
    return NodePki(
        client=_ensure_leaf(root, "kubelet-client", _Leaf(user, groups), pki.ca, clock),
        serving=_ensure_leaf(root, "kubelet-serving", serving, pki.ca, clock),
    )


def ensure_etcd(directory: Path | str, addresses: Sequence[str], *, clock: Clock = SYSTEM) -> EtcdPki:
    """etcd's authority and pairs under `directory` (file names as kubeadm's `etcd/`); it is dialled at `addresses`."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = _ensure_authority(root, "ca", "etcd-ca", clock)
    # etcd's own gateway is a client of its server with the server's pair, so that is for both uses.
    server = _Leaf("etcd-server", (), (_SERVER, _CLIENT), ("localhost",), _in_order(addresses))
    return EtcdPki(
        ca=ca,
        server=_ensure_leaf(root, "server", server, ca, clock),
        client=_ensure_leaf(root, "apiserver-etcd-client", _Leaf("kube-apiserver-etcd-client"), ca, clock),
    )


def ensure_client(
    pki: Pki, name: str, common_name: str, organizations: Sequence[str] = (), *, clock: Clock = SYSTEM
) -> Pair:
    """A further client pair `<name>.crt` for a user `common_name` in the groups `organizations`."""
    return _ensure_leaf(pki.directory, name, _Leaf(common_name, tuple(organizations)), pki.ca, clock)


# -- keys ---------------------------------------------------------------------------------------------------


def _ensure_key(path: Path) -> Path:
    if not path.exists():
        _write(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    return path


def _ensure_public_key(path: Path, private: Path) -> Path:
    public = (
        _load_key(private)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    if not path.exists() or path.read_bytes() != public:
        _write(path, public)
    return path


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"cannot read private key {path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"cannot use private key {path}: it is not an elliptic-curve key")
    return key


class CertificateError(Exception):
    """A file of the PKI cannot be used; the message names it."""


# -- certificates -------------------------------------------------------------------------------------------


def _ensure_authority(root: Path, name: str, common_name: str, clock: Clock) -> Pair:
    pair = Pair(root / f"{name}.crt", root / f"{name}.key")
    if pair.cert.exists() and pair.key.exists():
        cert = _load_cert(pair.cert)
        if cert.not_valid_after_utc < _now(clock):
            raise CertificateError(
                f"cannot use certificate authority {pair.cert}: "
                f"it ended on {cert.not_valid_after_utc:%Y-%m-%d}; "
                "move it away to have a new one made, and every certificate with it"
            )
        if cert.public_key() != _load_key(pair.key).public_key():
            raise CertificateError(f"cannot use certificate authority {pair.cert}: {pair.key} is not its key")
        return pair
    if pair.cert.exists():
        raise CertificateError(f"cannot use certificate authority {pair.cert}: its key {pair.key} is missing")
    key = _load_key(_ensure_key(pair.key))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    cert = (
        _builder(subject, subject, key, CA_LIFETIME, clock)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(pair.cert, cert.public_bytes(serialization.Encoding.PEM))
    return pair


def _ensure_leaf(root: Path, name: str, wanted: _Leaf, authority: Pair, clock: Clock) -> Pair:
    pair = Pair(root / f"{name}.crt", root / f"{name}.key")
    issuer = _load_cert(authority.cert)
    if _good(pair, wanted, issuer, clock):
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _issue(wanted, key, issuer, _load_key(authority.key), clock)
    _write(pair.key, _key_pem(key))
    _write(pair.cert, cert.public_bytes(serialization.Encoding.PEM))
    return pair


def _good(pair: Pair, wanted: _Leaf, issuer: x509.Certificate, clock: Clock) -> bool:
    if not (pair.cert.exists() and pair.key.exists()):
        return False
    try:
        cert, key = _load_cert(pair.cert), _load_key(pair.key)
        cert.verify_directly_issued_by(issuer)
    except Exception:  # whatever is wrong with the old one, a new one is made
        return False
    left = cert.not_valid_after_utc - _now(clock)
    return left >= RENEW_BEFORE and cert.public_key() == key.public_key() and _said(cert) == _sorted(wanted)


def _said(cert: x509.Certificate) -> _Leaf:
    def values(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(a.value) for a in cert.subject.get_attributes_for_oid(oid)]

    names: list[str] = []
    addresses: list[str] = []
    usages: list[x509.ObjectIdentifier] = []
    for extension in cert.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = extension.value.get_values_for_type(x509.DNSName)
            addresses = [str(a) for a in extension.value.get_values_for_type(x509.IPAddress)]
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            usages = list(extension.value)
    common = values(NameOID.COMMON_NAME)
    return _sorted(
        _Leaf(
            common[0] if common else "",
            tuple(values(NameOID.ORGANIZATION_NAME)),
            tuple(usages),
            tuple(names),
            tuple(addresses),
        )
    )


def _sorted(leaf: _Leaf) -> _Leaf:
    return _Leaf(
        leaf.common_name,
        tuple(sorted(leaf.organizations)),
        tuple(sorted(leaf.usages, key=lambda oid: oid.dotted_string)),
        tuple(sorted(leaf.names)),
        tuple(sorted(str(ipaddress.ip_address(a)) for a in leaf.addresses)),
    )


def _issue(
    wanted: _Leaf,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    clock: Clock,
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in wanted.organizations]
        + [x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)]
    )
    builder = (
        _builder(subject, issuer.subject, key, LEAF_LIFETIME, clock)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(wanted.usages)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    alternative = [x509.DNSName(n) for n in wanted.names]
    alternative += [x509.IPAddress(ipaddress.ip_address(a)) for a in wanted.addresses]  # type: ignore[misc]
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta, clock: Clock
) -> x509.CertificateBuilder:
    now = _now(clock)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_cert(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read certificate {path}: {error}") from error


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now(), UTC)


def _in_order(items: Iterable[str]) -> tuple[str, ...]:
    """Without repetitions, in the order given."""
    return tuple(dict.fromkeys(items))


def _write(path: Path, data: bytes) -> None:
    """Write by rename: a reader sees the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(part, path)
