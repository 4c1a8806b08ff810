"""What an API server is started with. `main.run` takes it from a command line, tests make their own."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Options:
    data_dir: Path = Path("/var/lib/shirube/apiserver")
    sockets: list[socket.socket] = field(default_factory=list)  # already listening or bound; else host and port
    listen_host: str = "127.0.0.1"
    listen_port: int = 6443
    advertise_host: str = "127.0.0.1"  # where pods and other machines reach this server
    advertise_port: int = 6443
    service_cidr: str = "10.96.0.0/12"  # of dual-stack clusters one of each family with a comma between
    node_port_range: tuple[int, int] = (30000, 32767)
    tls_cert: Path | None = None  # PEM; without it the server speaks plain HTTP (tests only)
    tls_key: Path | None = None
    client_ca: Path | None = None
    service_account_key: Path | None = None  # PEM of the P-256 key that signs tokens
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    api_audiences: tuple[str, ...] = ()  # empty: the issuer
    kubelet_client_cert: Path | None = None
    kubelet_client_key: Path | None = None
    kubelet_ca: Path | None = None
    front_proxy_ca: Path | None = None  # who may vouch for users in X-Remote-* headers
    front_proxy_cert: Path | None = None  # what aggregated API servers know us by
    front_proxy_key: Path | None = None
    # Files that are followed while the server runs (docs/access.md says what they may hold).
    authentication_config: Path | None = None  # AuthenticationConfiguration: OIDC issuers, anonymous access
    authorization_config: Path | None = None  # AuthorizationConfiguration: the chain of authorisers, webhooks
    encryption_config: Path | None = None  # EncryptionConfiguration: what is encrypted at rest, and how
    audit_policy: Path | None = None  # audit.k8s.io Policy; without one nothing is logged
    audit_log: Path | None = None  # where to; "-" is standard output
    audit_log_max_size: int = 100  # megabytes, then a new file is begun
    audit_log_max_backups: int = 10  # old files that are kept; 0: all
    audit_log_max_age: int = 0  # days that old files are kept; 0: for ever
    # Admission plugins beside the usual, names with commas between, and what they are told. Read once.
    enable_admission_plugins: str = ""
    disable_admission_plugins: str = ""
    admission_control_config_file: Path | None = None  # AdmissionConfiguration
    datastore: str = ""  # "" = SQLite under data_dir; "memory:" = nothing kept (tests); "etcd://…"
    runtime_config: str = ""  # KEY=true|false,…: APIs to serve or not, beside the defaults
    anonymous: bool = True
    event_ttl: float = 3600.0  # seconds an Event is kept after its last change
    history: float = 600.0  # seconds of past revisions that are kept at least
    compaction_interval: float = 300.0
    drain_seconds: float = 10.0  # how long requests in flight may take after SIGTERM
