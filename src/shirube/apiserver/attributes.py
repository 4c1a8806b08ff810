"""What is asked, as the authoriser sees it (`authorizer.Attributes` upstream): one flat record.

Resource requests carry group, version, resource, subresource, namespace and name; all others only `path` and a
lower-case HTTP verb. `field_selector` and `label_selector` are the raw query texts, for authorisers (the node
authoriser) that need them.
"""

from __future__ import annotations

from dataclasses import dataclass

from shirube.apiserver.user import User


@dataclass(slots=True)
class Attributes:
    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    is_resource: bool = True
    field_selector: str = ""
    label_selector: str = ""

    @property
    def read_only(self) -> bool:
        return self.verb in ("get", "list", "watch")
