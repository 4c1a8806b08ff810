"""CustomResourceDefinitions, pure: schemas, pruning, defaulting, validation, rules, names, printing.

`served.resources_of` turns a definition into the resources that a server adds to its table; the runtime that watches
definitions is `shirube.apiserver.extensions`. See "Extend the Kubernetes API with CustomResourceDefinitions".
"""
