"""storage.k8s.io/v1: storage classes, CSI drivers and volume attachments."""

from __future__ import annotations

from shirube.api.groups.row import CLUSTER, STATUS, GroupTable, Row

TABLE = GroupTable(
    "storage.k8s.io",
    "v1",
    (
        Row("csidrivers", "CSIDriver", CLUSTER),
        Row("csinodes", "CSINode", CLUSTER),
        Row("csistoragecapacities", "CSIStorageCapacity"),
        Row("storageclasses", "StorageClass", CLUSTER, short="sc"),
        Row("volumeattachments", "VolumeAttachment", CLUSTER, sub=(STATUS,)),
        Row("volumeattributesclasses", "VolumeAttributesClass", CLUSTER, short="vac"),
    ),
)
