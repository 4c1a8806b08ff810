"""The errors that commands expect: shown as one message, without a traceback."""

from __future__ import annotations

from shirube.apiserver.runtime_config import RuntimeConfigError
from shirube.cluster.api import ApiUnavailable
from shirube.cluster.api_config import ApiConfigError
from shirube.cluster.certificates import CertificateError
from shirube.cluster.command import CommandError
from shirube.cluster.control import ControlError, NotRunning
from shirube.cluster.etcd import EtcdError
from shirube.cluster.images import ImageError
from shirube.cluster.layout import LayoutError
from shirube.cluster.packages import PackageError
from shirube.cluster.up import UpError
from shirube.storage.types import StorageError

EXPECTED = (
    ApiConfigError,
    ApiUnavailable,
    CertificateError,
    CommandError,
    ControlError,
    EtcdError,
    ImageError,
    LayoutError,
    NotRunning,
    PackageError,
    RuntimeConfigError,
    StorageError,
    UpError,
)
