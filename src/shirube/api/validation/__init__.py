"""Validators that several kinds share: object metadata, labels, pod specs and their parts.

Each takes a path as upstream's ``field.Path`` prints it and returns (or appends to a list) ``Cause`` objects
whose reason, message and field are upstream's (k8s.io/apimachinery ``api/validation``,
k8s.io/kubernetes ``pkg/apis/core/validation``). Objects have passed the schema: types are right, nulls gone.
"""
