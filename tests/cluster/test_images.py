import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from shirube.cluster.images import ImageError, ImageSource, build, read_source

BUSYBOX = Path("/bin/busybox")


def archive(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def source(tmp_path: Path, text: str) -> Path:
    (tmp_path / "image.toml").write_text(text)
    return tmp_path


def test_an_archive_is_a_valid_oci_layout(tmp_path):
    (tmp_path / "page").write_text("hi")
    image = read_source(
        source(
            tmp_path,
            """
            name = "localhost/x:1"
            [files]
            "/www/index.html" = "page"
            [links]
            "/www/home" = "index.html"
            [text]
            "/etc/motd" = "hello"
            [config]
            Cmd = ["/x"]
            """,
        )
    )
    files = archive(build(image))
    index = json.loads(files["index.json"])
    [described] = index["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    manifest = json.loads(files["blobs/sha256/" + described["digest"].removeprefix("sha256:")])
    for descriptor in (manifest["config"], *manifest["layers"]):
        blob = files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert len(blob) == descriptor["size"] and hashlib.sha256(blob).hexdigest() == descriptor["digest"][7:]
    layer = files["blobs/sha256/" + manifest["layers"][0]["digest"].removeprefix("sha256:")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        members = {m.name: m for m in tar}
        assert tar.extractfile("www/index.html").read() == b"hi"
    assert members["www/home"].linkname == "index.html" and members["tmp"].mode == 0o1777
    assert all(m.mtime == 0 and m.uid == 0 for m in members.values())


def test_the_same_input_makes_the_same_bytes():
    one = ImageSource("localhost/x:1", text={"/a": "1", "/b": "2"})
    two = ImageSource("localhost/x:1", text={"/b": "2", "/a": "1"})
    assert build(one) == build(two)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = 'no-tag'", "not of the form"),
        ("name = 'localhost/x:1'\nunknown = 1", "unknown entries unknown"),
        ("name = 'localhost/x:1'\n[config]\nShell = 1", "unknown config entries Shell"),
        ("name = 'localhost/x:1'\n[text]\n'../etc/passwd' = 'x'", "not an absolute path"),
        ("name = ", "cannot build an image from"),
    ],
)
def test_bad_descriptions_say_why(tmp_path, text, why):
    with pytest.raises(ImageError, match=why):
        read_source(source(tmp_path, text))


def test_missing_inputs_say_what_is_missing(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_source(tmp_path)
    image = read_source(source(tmp_path, "name = 'localhost/x:1'\n[files]\n'/x' = '/no/such/file'"))
    with pytest.raises(ImageError, match=r"cannot read /no/such/file.*package"):
        build(image)
