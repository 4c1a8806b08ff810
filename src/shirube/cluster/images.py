"""Images without a registry: an OCI archive from a short description and files of this machine.

The description is TOML:

    name = "localhost/hello:1"
    [files]                      # path in the image = path on this machine
    "/bin/busybox" = "/bin/busybox"
    [links]                      # path in the image = where it points
    "/bin/sh" = "busybox"
    [text]                       # path in the image = its content
    "/etc/motd" = "hello"
    [config]                     # OCI image configuration
    Entrypoint = ["/bin/httpd"]

A relative path is relative to the description. Shared libraries that a program needs come along (`ldd`). The same
input gives the same bytes: times are zero, owners root, entries sorted.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import re
import tarfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shirube.cluster.command import CommandError, run

_REFERENCE = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+:[A-Za-z0-9_.-]{1,128}")
_CONFIG_KEYS = {
    "Entrypoint",
    "Cmd",
    "Env",
    "User",
    "WorkingDir",
    "ExposedPorts",
    "Labels",
    "StopSignal",
    "Volumes",
}


class ImageError(Exception):
    """An image that cannot be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    name: str
    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def read_source(path: Path) -> ImageSource:
    """Parse a description; `path` is the TOML file or a folder with an image.toml."""
    if path.is_dir():
        path = path / "image.toml"
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ImageError(f"cannot build an image: {path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"cannot build an image from {path}: {error}") from error
    unknown = set(raw) - {"name", "files", "links", "text", "config"}
    if unknown:
        raise ImageError(f"cannot build an image from {path}: unknown entries {', '.join(sorted(unknown))}")
    name = str(raw.get("name", ""))
    if not _REFERENCE.fullmatch(name):
        raise ImageError(f"cannot build an image from {path}: name {name!r} is not of the form host/name:tag")
    config = raw.get("config", {})
    if bad := set(config) - _CONFIG_KEYS:
        raise ImageError(f"cannot build an image from {path}: unknown config entries {', '.join(sorted(bad))}")
    files = {inside: (path.parent / outside) for inside, outside in raw.get("files", {}).items()}
    source = ImageSource(name, files, raw.get("links", {}), raw.get("text", {}), config)
    for inside in (*source.files, *source.links, *source.text):
        if not inside.startswith("/") or ".." in inside.split("/"):
            raise ImageError(f"cannot build an image from {path}: {inside!r} is not an absolute path in the image")
    return source


def pause_image(name: str) -> ImageSource:
    """The sandbox image: an init that sleeps and reaps (Debian's catatonit)."""
    return ImageSource(name, files={"/pause": Path("/usr/bin/catatonit")}, config={"Entrypoint": ["/pause", "-P"]})


def build(source: ImageSource) -> bytes:
    """The image as an OCI archive (tar)."""
    layer_tar = _layer(source)
    layer = gzip.compress(layer_tar, compresslevel=1, mtime=0)
    config = orjson.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": source.config,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer_tar).hexdigest()]},
        }
    )
    manifest = orjson.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    )
    named = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    named["annotations"] = {
        "io.containerd.image.name": source.name,
        "org.opencontainers.image.ref.name": source.name,
    }
    index = orjson.dumps({"schemaVersion": 2, "manifests": [named]})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _add_file(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644)
        _add_file(archive, "index.json", index, 0o644)
        for blob in (config, layer, manifest):
            _add_file(archive, "blobs/sha256/" + hashlib.sha256(blob).hexdigest(), blob, 0o644)
    return out.getvalue()


def _architecture() -> str:

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": "sha256:" + hashlib.sha256(blob).hexdigest(),
        "size": len(blob),
    }


def _layer(source: ImageSource) -> bytes:
    files = dict(source.files)
    for outside in source.files.values():
        for library in _libraries(outside):
            files.setdefault(str(library), library)
    directories = {"/tmp": 0o1777}
    for inside in (*files, *source.links, *source.text):
        for parent in list(Path(inside).parents)[:-1]:
            directories.setdefault(str(parent), 0o755)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for directory in sorted(directories):
            info = tarfile.TarInfo(directory.lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, directories[directory]
            archive.addfile(info)
        for inside in sorted(files):
            try:
                content, mode = files[inside].read_bytes(), files[inside].stat().st_mode & 0o777
            except OSError as error:
                raise ImageError(
                    f"cannot build image {source.name}: cannot read {files[inside]}: {error.strerror}; "
                    "is its package installed?"
                ) from error
            _add_file(archive, inside.lstrip("/"), content, mode)
        for inside in sorted(source.text):
            _add_file(archive, inside.lstrip("/"), source.text[inside].encode(), 0o644)
        for inside in sorted(source.links):
            info = tarfile.TarInfo(inside.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, source.links[inside]
            archive.addfile(info)
    return out.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _libraries(program: Path) -> list[Path]:
    """The shared libraries that a dynamic program loads, as absolute paths; none for scripts, data and static ones."""
    try:
        with program.open("rb") as f:
            if f.read(4) != b"\x7fELF":
                return []
        listing = run(["ldd", str(program)])
    except (OSError, CommandError):  # unreadable: reported where it is read; ldd fails for static programs
        return []
    return [Path(p) for p in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listing, re.MULTILINE)]
