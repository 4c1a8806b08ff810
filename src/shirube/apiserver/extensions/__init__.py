"""CustomResourceDefinitions at run time: names are settled, resources served, conversions asked for, and what belonged
to a deleted definition removed.

`Definitions` is started with the server, before it is ready; the generic resource handler serves custom resources
like built-in ones, through the `definition` that their `Resource` carries.
"""

from shirube.apiserver.extensions.definitions import Definitions

__all__ = ["Definitions"]
