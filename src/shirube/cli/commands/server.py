"""`shirube server`: the API alone, for testing operators and clients."""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any

import click

from shirube.apiserver.runtime_config import served
from shirube.cluster import api_config as access_config
from shirube.cluster import certificates, kubeconfig
from shirube.cluster.up import UpError
from shirube.foundation import process


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("shirube-data"), show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=6443, show_default=True, help="0 takes a free one.")
@click.option("--datastore", default="", help="URL of the store.  [default: SQLite in the data directory]")
@click.option(
    "--api-config",
    type=click.Path(path_type=Path),
    help="Directory with authentication.yaml, authorization.yaml, encryption.yaml, audit-policy.yaml and "
    "admission.yaml; each may be absent, all but the last are followed while the server runs.",
)
@click.option(
    "--enable-admission-plugins",
    multiple=True,
    metavar="NAME,…",
    help="Admission plugins that are off by default.",
)
@click.option("--disable-admission-plugins", multiple=True, metavar="NAME,…", help="Those that are on by default.")
@click.option(
    "--admission-control-config-file",
    type=click.Path(path_type=Path),
    help="AdmissionConfiguration, what plugins are told; read once.  [default: admission.yaml of --api-config]",
)
@click.option(
    "--runtime-config",
    multiple=True,
    metavar="KEY=true|false,…",
    help="APIs to serve or not: GROUP/VERSION, GROUP/VERSION/RESOURCE, api/ga, api/beta or api/all.",
)
def command(
    data_dir: Path,
    host: str,
    port: int,
    datastore: str,
    api_config: Path | None,
    enable_admission_plugins: tuple[str, ...],
    disable_admission_plugins: tuple[str, ...],
    admission_control_config_file: Path | None,
    runtime_config: tuple[str, ...],
) -> None:
    """Run the API in the foreground: RBAC on, an administrator's kubeconfig in DATA_DIR/admin.kubeconfig."""
    import shirube.apiserver.main as apiserver

    served(",".join(runtime_config))  # refused before anything is made
    address = _address(host)
    data_dir = data_dir.absolute()
    plugins = (",".join(enable_admission_plugins), ",".join(disable_admission_plugins))
    access = _access(api_config, data_dir / "audit.log", admission_control_config_file, *plugins)
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    pki = certificates.ensure_pki(
        data_dir / "pki",
        cluster_name="shirube",
        api_names=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
        api_addresses=sorted({"127.0.0.1", address, "10.96.0.1"}),
    )
    config = data_dir / "admin.kubeconfig"
    kubeconfig.write(config, f"https://{address}:{port}", pki.ca.cert, pki.admin.cert, pki.admin.key, "shirube")
    options = apiserver.Options(
        data_dir=data_dir,
        datastore=datastore,
        sockets=[listener],
        advertise_host=address,
        advertise_port=port,
        tls_cert=pki.apiserver.cert,
        tls_key=pki.apiserver.key,
        client_ca=pki.ca.cert,
        service_account_key=pki.service_account_key,
        kubelet_client_cert=pki.apiserver_kubelet_client.cert,
        kubelet_client_key=pki.apiserver_kubelet_client.key,
        kubelet_ca=pki.ca.cert,
        front_proxy_ca=pki.front_proxy_ca.cert,
        front_proxy_cert=pki.front_proxy_client.cert,
        front_proxy_key=pki.front_proxy_client.key,
        runtime_config=",".join(runtime_config),
        **access,
    )

    def ready() -> None:
        print(f"ready: https://{address}:{port}  kubectl --kubeconfig {config} get all -A", file=sys.stderr, flush=True)

    sys.exit(process.run(lambda stop: apiserver.run(options, stop, ready), "shirube-apiserver"))


def _access(
    directory: Path | None, audit_log: Path, admission: Path | None, enable: str, disable: str
) -> dict[str, Any]:
    """The server's options for what its files say, which have been looked at. Raises ApiConfigError."""
    options: dict[str, Any] = {}
    if directory is not None:
        access_config.check(directory.absolute())
        options = access_config.options(directory.absolute(), audit_log)
    if admission is not None:
        if "admission_control_config_file" in options:
            raise access_config.ApiConfigError(
                f"cannot use --admission-control-config-file {admission}: {directory}/admission.yaml says the same; "
                "give one of them"
            )
        options["admission_control_config_file"] = admission.absolute()
    access_config.check_plugins(enable, disable, options.get("admission_control_config_file"))
    return {**options, "enable_admission_plugins": enable, "disable_admission_plugins": disable}


def _address(host: str) -> str:
    try:
        found = ipaddress.ip_address(host)
    except ValueError as error:
        raise UpError(f"cannot listen on {host!r}: --host takes an IP address") from error
    return "127.0.0.1" if found.is_unspecified else str(found)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise UpError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it or choose another with --port"
        ) from error
