"""Every built-in group version, in the order in which `/apis` names them.

The order is upstream's priority of API services: clients that look for a kind by its bare name take the
first group that has it. Within a group the preferred version comes first.
"""

from __future__ import annotations

from shirube.api.groups import (
    admissionregistration_v1,
    apiextensions_v1,
    apiregistration_v1,
    apps_v1,
    authentication_v1,
    authorization_v1,
    autoscaling_v1,
    autoscaling_v2,
    batch_v1,
    certificates_v1,
    certificates_v1beta1,
    coordination_v1,
    core_v1,
    discovery_v1,
    events_v1,
    flowcontrol_v1,
    networking_v1,
    node_v1,
    policy_v1,
    rbac_v1,
    resource_v1,
    scheduling_v1,
    storage_v1,
)
from shirube.api.groups.row import GroupTable

TABLES: tuple[GroupTable, ...] = (
    core_v1.TABLE,
    apiregistration_v1.TABLE,
    apps_v1.TABLE,
    events_v1.TABLE,
    authentication_v1.TABLE,
    authorization_v1.TABLE,
    autoscaling_v2.TABLE,
    autoscaling_v1.TABLE,
    batch_v1.TABLE,
    certificates_v1.TABLE,
    networking_v1.TABLE,
    policy_v1.TABLE,
    rbac_v1.TABLE,
    storage_v1.TABLE,
    admissionregistration_v1.TABLE,
    apiextensions_v1.TABLE,
    scheduling_v1.TABLE,
    coordination_v1.TABLE,
    node_v1.TABLE,
    discovery_v1.TABLE,
    resource_v1.TABLE,
    flowcontrol_v1.TABLE,
)

# Group versions that upstream knows and leaves off by default, of which everything works: a server serves those that
# its options ask for (`apiserver.runtime_config`).
OPTIONAL: tuple[GroupTable, ...] = (certificates_v1beta1.TABLE,)
